package unitgen

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/spec"
)

// The units that every container's unit refers to.
const (
	DefaultSlice  = "cleat.slice"
	DefaultTarget = "multi-user.target"
	StdioSocket   = "cleat-stdiod.socket"
	NamesSocket   = "cleat-netd.socket"
	HealthSocket  = "cleat-healthd.socket"
)

// minSystemd is the first version with all properties used here, AllowedCPUs=
// being the youngest.
const minSystemd = 244

// Service returns the unit of container c. What is wrong with c or in is
// reported as spec.ErrInvalid, a systemd that is too old as spec.ErrUnsupport.
func Service(c spec.Container, in ServiceInput) (Unit, error) {
	if in.SystemdVersion != 0 && in.SystemdVersion < minSystemd {
		return Unit{}, fmt.Errorf("systemd %d is too old, %d is needed: %w", in.SystemdVersion, minSystemd, spec.ErrUnsupport)
	}
	if err := checkName(c.Name); err != nil {
		return Unit{}, err
	}
	if err := checkSlice(c.Slice); err != nil {
		return Unit{}, err
	}
	if err := CheckSurvival(c, in); err != nil {
		return Unit{}, err
	}
	u := Unit{Name: c.UnitName(), ID: c.ID}
	parts := []func(spec.Container, ServiceInput) ([]Property, error){
		identity, execution, killing, restarting, limits, rlimits, devices, secrets, ordering, logging,
	}
	for _, part := range parts {
		props, err := part(c, in)
		if err != nil {
			return Unit{}, fmt.Errorf("unit %s: %w", u.Name, err)
		}
		u.Properties = append(u.Properties, props...)
	}
	if c.SurviveSoftReboot {
		u.Properties = append(survive(u.Properties, "sysinit.target", "basic.target"), Property{"SurviveFinalKillSignal", true})
	}
	sortProperties(u.Properties)
	if c.Restart.Boot() && !c.Activated() { // else its socket is what is enabled
		u.Install = []string{or(in.WantedBy, DefaultTarget)}
	}
	return u, nil
}

// maxName keeps the name of a unit file below the limit of 255 bytes, with room
// for the suffixes of drop-ins and sockets.
const maxName = 200

// checkName accepts what can be part of a unit's name without escaping; "@"
// would make it a template's instance, "/" leave the directory. cleat's own
// services are named like containers.
func checkName(name string) error {
	if slices.Contains([]string{"apid", "healthd", "host-ready", "netd", "network-restore", "quadlet-sweep", "stdiod"}, name) {
		return fmt.Errorf("container name %q is that of a service of cleat: %w", name, spec.ErrInvalid)
	}
	outside := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune("_.-", r)
	}
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, outside) || strings.ContainsAny(name[:1], "_.-") {
		return fmt.Errorf("container name %q: %w", name, spec.ErrInvalid)
	}
	return nil
}

func sortProperties(props []Property) {
	slices.SortFunc(props, func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// identity says what the unit is. An ended container must not stay loaded as
// "failed": its true exit code is on disk.
func identity(c spec.Container, _ ServiceInput) ([]Property, error) {
	return []Property{
		{"CollectMode", "inactive-or-failed"},
		{"Description", printable("Container " + c.Name + " (" + c.Image.Reference + ")")},
		{"Documentation", []string{"man:cleat(1)"}},
		{"Slice", or(c.Slice, DefaultSlice)},
	}, nil
}

// execution names the helper's commands. It is the payload that runs in the
// end: the helper announces it as the main process, over the notify socket
// that the payload itself never gets. How long a start may take is the
// helper's business: it waits out the backoff of restarts.
func execution(c spec.Container, in ServiceInput) ([]Property, error) {
	if in.Ref != "" && in.Ref != c.Name { // which has been checked
		return nil, fmt.Errorf("the helper is told to start %q: %w", in.Ref, spec.ErrInvalid)
	}
	for _, path := range []string{in.InitPath, in.Root, in.RunRoot} {
		if err := checkPath(path); err != nil {
			return nil, err
		}
	}
	if in.Ref == "" && (strings.Trim(c.ID, "0123456789abcdef") != "" || c.ID == "") {
		return nil, fmt.Errorf("container id %q: %w", c.ID, spec.ErrInvalid)
	}
	helper := func(verb string) []Exec {
		return []Exec{{
			Path: in.InitPath,
			Args: []string{in.InitPath, "--root", in.Root, "--runroot", in.RunRoot, verb, or(in.Ref, c.ID)},
		}}
	}
	props := []Property{
		{"ExecStart", helper("start")},
		{"ExecStopPost", helper("post")},
		{"NotifyAccess", "all"},
		{"TimeoutStartUSec", Infinity},
		{"Type", "notify"},
	}
	if c.Activation.Mode == spec.ActivateProxy {
		// Before the payload is told to stop, so that new connections wait in the
		// socket for the next run.
		props = append(props, Property{"ExecStop", helper("close")})
	}
	if c.Restart.Mode == spec.RestartOnFailure { // the boot passes over what has succeeded
		props = append(props, Property{"ExecCondition", helper("due")})
	}
	return props, nil
}

// killing says how systemd stops the container: the payload gets the stop
// signal, what is left after the grace period gets SIGKILL.
//
// The timeout also holds for ExecStopPost=, so "kill at once" cannot be a
// timeout of zero (which systemd takes as infinity anyway): then the stop
// signal is SIGKILL.
func killing(c spec.Container, _ ServiceInput) ([]Property, error) {
	sig, err := signal.Parse(or(c.StopSignal, "SIGTERM"))
	if err != nil {
		return nil, fmt.Errorf("stop signal: %w: %w", err, spec.ErrInvalid)
	}
	grace := spec.DefaultStopTimeout
	if c.StopTimeout != nil {
		grace = *c.StopTimeout
	}
	timeout := uint64(grace / time.Microsecond)
	switch {
	case grace < 0:
		timeout = Infinity
	case grace < time.Second:
		const sigkill = 9
		sig, timeout = sigkill, uint64(spec.DefaultStopTimeout/time.Microsecond)
	}
	return []Property{
		{"KillMode", "mixed"},
		{"KillSignal", int32(sig)},
		{"SendSIGKILL", true},
		{"TimeoutStopUSec", timeout},
	}, nil
}

// ordering says what has to be there before the container: the sockets of the
// daemons that it uses, that of its published ports, the file systems that hold
// its state and its bind mounts, those that are its volumes, and the units of the
// host that its user tied it to. Sockets that start the container are not
// required: it may be stopped by itself.
func ordering(c spec.Container, in ServiceInput) ([]Property, error) {
	paths := []string{expressible(in.Root)}
	for _, m := range c.Mounts {
		if m.Type != spec.MountBind {
			continue
		}
		if !filepath.IsAbs(m.Source) || !utf8.ValidString(m.Source) {
			return nil, fmt.Errorf("bind source %q: %w", m.Source, spec.ErrInvalid)
		}
		paths = append(paths, expressible(m.Source))
	}
	slices.Sort(paths)
	daemons := []string{StdioSocket}
	if in.Names {
		daemons = append(daemons, NamesSocket)
	}
	if c.Watched() {
		daemons = append(daemons, HealthSocket)
	}
	wanted, required := daemons, slices.Clone(in.Mounts)
	if c.Activated() {
		wanted = append(slices.Clone(daemons), SocketName(c.UnitName()))
	} else {
		required = append(required, in.Sockets...)
	}
	after := slices.Clone(wanted)
	if c.Activation.IdleTimeout > 0 {
		wanted = append(slices.Clone(wanted), TimerName(c.UnitName()))
	}
	props := []Property{
		{"RequiresMountsFor", slices.Compact(paths)},
		{"Wants", wanted},
	}
	if in.BindsTo != "" {
		props = append(props, Property{"BindsTo", []string{in.BindsTo}})
		after = append(after, in.BindsTo)
	}
	tied, ordered, err := dependOn(c)
	if err != nil {
		return nil, err
	}
	after = slices.Concat(after, required, ordered)
	required = append(required, tied...)
	props = append(props, Property{"After", after})
	if len(required) > 0 {
		props = append(props, Property{"Requires", required})
	}
	return props, nil
}

// expressible returns path, or the closest directory above it that
// RequiresMountsFor= can name. systemd (252) writes this property of a transient
// unit to its file as it is and reads it back at a daemon-reload: spaces would
// split the path, a backslash at its end would swallow the next setting. The
// dependency is then on what holds most of the path, which is the point of it.
func expressible(path string) string {
	special := func(r rune) bool { return unprintable(r) || unicode.IsSpace(r) || strings.ContainsRune(`"'\%`, r) }
	path = filepath.Clean(path)
	for strings.ContainsFunc(path, special) {
		path = filepath.Dir(path)
	}
	return path
}

// logging sends what the helper itself says to the journal, and lifts the
// limit on the unit's rate of messages, which would also hit the container's
// output. An interval of 0 is not handed on to journald (systemd 252), so the
// limit is one that is never reached.
func logging(spec.Container, ServiceInput) ([]Property, error) {
	return []Property{
		{"LogRateLimitBurst", uint32(1_000_000_000)},
		{"LogRateLimitIntervalUSec", uint64(time.Second / time.Microsecond)},
		{"StandardError", "journal"},
		{"StandardInput", "null"},
		{"StandardOutput", "journal"},
		{"SyslogIdentifier", "cleat-init"},
	}, nil
}

// checkPath accepts the paths that mean the same in both forms of a unit, and
// still do after a daemon-reload. In a command line systemd replaces variables,
// and systemd 252 reads a semicolon of a transient unit back as two characters.
func checkPath(path string) error {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return fmt.Errorf("path %q is not absolute and clean: %w", path, spec.ErrInvalid)
	case strings.ContainsAny(path, `$;"'\`) || strings.ContainsFunc(path, unprintable) || !utf8.ValidString(path):
		return fmt.Errorf("path %q has a character that systemd cannot take: %w", path, spec.ErrInvalid)
	}
	return nil
}
