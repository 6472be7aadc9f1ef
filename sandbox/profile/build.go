package profile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/internal/bpf"
	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// The parts of a container's directory that a plan refers to.
const (
	upperDir     = "upper"
	workDir      = "work"
	hostsFile    = "hosts"
	hostnameFile = "hostname"
	resolvFile   = "resolv.conf"
)

// Build computes the start plan of c. What is wrong with c is reported as
// spec.ErrInvalid, what this machine cannot do as spec.ErrUnsupport.
//
// The configuration is Docker's with these differences:
//   - linux.resources, linux.cgroupsPath, process.rlimits and
//     process.oomScoreAdj are missing: the systemd unit has them, and a device
//     filter loaded by anyone else would be lost at a daemon-reload;
//   - process.user is empty: names are looked up in the container's own files
//     when it starts, see plan.Annex;
//   - root.path is relative and stands for the overlay that the annex describes;
//   - domainname is the field of that name instead of a sysctl;
//   - with an init, process.args is still the payload's, see plan.Annex;
//   - a container that joins another's IPC namespace has no mount for /dev/shm:
//     it is the other's.
func Build(c spec.Container, in Input) (plan.Plan, error) {
	p, err := build(c, in)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("plan container %s: %w", c.Name, err)
	}
	return p, nil
}

func build(c spec.Container, in Input) (plan.Plan, error) {
	if len(in.Layers) != len(c.Image.DiffIDs) {
		return plan.Plan{}, fmt.Errorf("image has %d layers, %d directories given: %w", len(c.Image.DiffIDs), len(in.Layers), spec.ErrInvalid)
	}
	if err := checkNetwork(c.Network); err != nil {
		return plan.Plan{}, err
	}
	config, joins, err := configure(c, in)
	if err != nil {
		return plan.Plan{}, err
	}
	annex, err := annexOf(c, in)
	if err != nil {
		return plan.Plan{}, err
	}
	annex.Join = joins
	var filter bpf.Filter
	if config.Linux.Seccomp, filter, err = Seccomp(c, in.Host); err != nil {
		return plan.Plan{}, err
	}
	annex.Seccomp = filter.Bytes()
	return plan.Plan{Config: config, Annex: annex}, nil
}

// configure returns the OCI configuration, all but its seccomp profile, and the
// namespaces of other containers.
func configure(c spec.Container, in Input) (*specs.Spec, []plan.Join, error) {
	own, joins, err := namespaces(c)
	if err != nil {
		return nil, nil, err
	}
	payload, err := process(c, in.Host)
	if err != nil {
		return nil, nil, err
	}
	tree, propagation, err := mounts(c, in)
	if err != nil {
		return nil, nil, err
	}
	params, err := sysctls(c)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := devices(c, in)
	if err != nil {
		return nil, nil, err
	}
	config := &specs.Spec{
		Version: specs.Version,
		Process: payload,
		Root:    &specs.Root{Path: "rootfs", Readonly: c.ReadOnly},
		Mounts:  tree,

		Annotations: c.Annotations,
		Linux: &specs.Linux{
			Namespaces:        own,
			Sysctl:            params,
			Devices:           nodes,
			RootfsPropagation: propagation,
		},
	}
	if !isHost(c.UTSMode) {
		config.Hostname, config.Domainname = HostnameOn(c, in.Host), c.Domainname
	}
	if !c.Security.Privileged && !c.Security.Unmask {
		config.Linux.MaskedPaths = append(maskedPaths(), in.Host.MaskedPaths...)
		config.Linux.ReadonlyPaths = readonlyPaths()
	}
	return config, joins, nil
}

// process returns what is to run, except for the user.
func process(c spec.Container, h Host) (*specs.Process, error) {
	if len(c.Process.Argv()) == 0 {
		return nil, fmt.Errorf("no command specified: %w", spec.ErrInvalid)
	}
	dir := c.Process.Dir
	if dir == "" {
		dir = "/"
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("working directory %q is not an absolute path: %w", dir, spec.ErrInvalid)
	}
	caps, err := capabilities(c.Security, h)
	if err != nil {
		return nil, err
	}
	label, err := appArmor(c.Security, h)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        c.Process.TTY,
		Args:            c.Process.Argv(),
		Env:             environment(c, h),
		Cwd:             filepath.Clean(dir),
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		NoNewPrivileges: c.Security.NoNewPrivileges,
		ApparmorProfile: label,
	}
	if c.Process.TTY && c.Process.TTYHeight > 0 && c.Process.TTYWidth > 0 {
		p.ConsoleSize = &specs.Box{Height: uint(c.Process.TTYHeight), Width: uint(c.Process.TTYWidth)}
	}
	return p, nil
}

// appArmor returns the profile to run under, "" for no change.
func appArmor(s spec.Security, h Host) (string, error) {
	switch {
	case s.AppArmor != "" && s.AppArmor != "unconfined" && !h.AppArmor:
		return "", fmt.Errorf("AppArmor profile %q: this kernel does not use AppArmor: %w", s.AppArmor, spec.ErrUnsupport)
	case !h.AppArmor:
		return "", nil
	case s.AppArmor != "":
		return s.AppArmor, nil
	case s.Privileged:
		return "unconfined", nil
	}
	return h.AppArmorProfile, nil
}

// annexOf returns the annex, all but what other parts of Build know.
func annexOf(c spec.Container, in Input) (plan.Annex, error) {
	if c.StopSignal == "" {
		c.StopSignal = "SIGTERM"
	}
	stop, err := signal.Parse(c.StopSignal)
	if err != nil {
		return plan.Annex{}, fmt.Errorf("stop signal: %w: %w", err, spec.ErrInvalid)
	}
	lower := slices.Clone(in.Layers)
	slices.Reverse(lower)
	dir := filepath.Join(in.ContainersDir, c.ID)
	copyUp, within := volumeNotes(c, in)
	a := plan.Annex{
		Version: plan.Version,
		ID:      c.ID,
		Name:    c.Name,
		Unit:    c.UnitName(),
		Image:   c.Image.Reference,
		Labels:  c.Labels,
		Rootfs: plan.Rootfs{
			Lower:    lower,
			Skeleton: in.Skeleton,
			Upper:    filepath.Join(dir, upperDir),
			Work:     filepath.Join(dir, workDir),
			Volatile: c.AutoRemove,
		},
		CopyUp:      copyUp,
		Within:      within,
		User:        c.Process.User,
		Groups:      c.Process.Groups,
		Stdio:       stdio(c, in),
		Inherit:     c.Activation.Mode == spec.ActivateFD,
		Restart:     c.Restart,
		AutoRemove:  c.AutoRemove,
		Secrets:     c.Secrets,
		StopSignal:  stop,
		StopTimeout: stopTimeout(c),
	}
	if c.Watched() {
		a.Enlist, a.Notify = in.HealthSocket, c.Notify
	}
	if c.Init && isPrivate(c.PIDMode) {
		a.Init = in.InitBinary
	}
	return a, nil
}

func stopTimeout(c spec.Container) time.Duration {
	if c.StopTimeout == nil {
		return spec.DefaultStopTimeout
	}
	return *c.StopTimeout
}

func stdio(c spec.Container, in Input) plan.Stdio {
	return plan.Stdio{
		Socket:    in.StdioSocket,
		TTY:       c.Process.TTY,
		OpenStdin: c.Process.OpenStdin,
		StdinOnce: c.Process.StdinOnce,
		Height:    c.Process.TTYHeight,
		Width:     c.Process.TTYWidth,
		Log:       c.Log.Driver != "none",
		Fields:    journalFields(c, in.JournalFields),
	}
}

// journalFields returns the fields of every line, as Docker's journald driver
// names them. What a label or variable is called cannot replace those that say
// whose output it is.
func journalFields(c spec.Container, extra []string) []string {
	tag := c.Log.Tag
	if tag == "" {
		tag = spec.ShortID(c.ID)
	}
	fields := []string{
		"CONTAINER_ID=" + spec.ShortID(c.ID),
		"CONTAINER_ID_FULL=" + c.ID,
		"CONTAINER_NAME=" + c.Name,
		"CONTAINER_TAG=" + tag,
		"IMAGE_NAME=" + c.Image.Reference,
		"SYSLOG_IDENTIFIER=" + tag,
	}
	var more []string
	for name, value := range c.Log.Fields {
		more = append(more, name+"="+value)
	}
	slices.Sort(more)
	for _, field := range append(more, extra...) {
		name, _, ok := strings.Cut(field, "=")
		known := func(f string) bool { return strings.HasPrefix(f, name+"=") }
		if ok && !slices.ContainsFunc(fields, known) {
			fields = append(fields, field)
		}
	}
	return fields
}
