package compose

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// wanted is a service as the engine is to be asked for it, without what differs
// from one of its containers to the next.
type wanted struct {
	service types.ServiceConfig
	create  engine.CreateOptions
	hooks   []engine.ExecOptions
	files   []injected // written into a container before its first start
	hash    string     // of all of the above
	docker  string     // hash of the service, as Docker's compose computes it
	depends []dependency

	// bound are the services whose containers this one refers to by their ids:
	// when those are replaced, so is this.
	bound []string
}

// convert turns a service into what the engine takes. This is the only place
// where the keys of Compose become the nouns of package spec.
func (p *Project) convert(s types.ServiceConfig) (*wanted, error) {
	w := &wanted{service: s, create: engine.CreateOptions{Image: p.imageOf(s), Platform: s.Platform}}
	ct := &w.create.Container
	ct.Slice = SliceName(p.Name())
	ct.Labels = maps.Clone(map[string]string(s.Labels))
	ct.Hostname, ct.Domainname = s.Hostname, s.DomainName
	ct.ReadOnly, ct.ShmBytes, ct.StopSignal = s.ReadOnly, int64(s.ShmSize), s.StopSignal
	ct.Init = s.Init != nil && *s.Init
	if s.StopGracePeriod != nil {
		ct.StopTimeout = new(time.Duration(*s.StopGracePeriod))
	}
	w.depends = dependencies(s)
	steps := []struct {
		key string
		do  func(*wanted) error
	}{
		{"pull_policy", p.pull}, {"command", p.process}, {"restart", p.restart}, {"security_opt", p.security},
		{"devices", p.devices}, {"mem_limit", p.limits}, {"ulimits", p.ulimits}, {"sysctls", p.sysctls}, {"logging", p.logging},
		{"pid", p.namespaces}, {"volumes", p.mounts}, {"secrets", p.secrets}, {"configs", p.configs},
		{"network_mode", p.network}, {"ports", p.ports}, {"dns", p.names}, {"healthcheck", p.health}, {"post_start", p.hooks},
	}
	for _, step := range steps {
		if err := step.do(w); err != nil {
			var at keyError
			if errors.As(err, &at) {
				step.key, err = at.key, at.error
			}
			return nil, p.refusef("services."+s.Name+"."+step.key, "%w", err)
		}
	}
	slices.Sort(w.bound)
	w.bound = slices.Compact(w.bound)
	var err error
	w.docker, err = dockerHash(s)
	if err == nil {
		w.hash, err = w.sum()
	}
	return w, err
}

// keyError says which key of a service an error is about.
type keyError struct {
	key string
	error
}

func (e keyError) Unwrap() error { return e.error }

// at makes err one of key.
func at(key string, err error) error {
	if err == nil {
		return nil
	}
	return keyError{key, err}
}

// imageOf returns the name of a service's image.
func (p *Project) imageOf(s types.ServiceConfig) string {
	if s.Image != "" {
		return s.Image
	}
	return p.Name() + "-" + s.Name
}

func dependencies(s types.ServiceConfig) (list []dependency) {
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		list = append(list, dependency{name, d.Condition, d.Restart, !d.Required})
	}
	return list
}

func (p *Project) pull(w *wanted) error {
	switch w.service.PullPolicy {
	case "always":
		w.create.Pull = engine.PullAlways
	case "never":
		w.create.Pull = engine.PullNever
	}
	return nil
}

func (p *Project) process(w *wanted) error {
	s, proc := w.service, &w.create.Container.Process
	// An empty list clears what the image says, a missing one leaves it.
	proc.Cmd = s.Command
	proc.Entrypoint = s.Entrypoint
	if s.Entrypoint != nil && len(s.Entrypoint) == 0 {
		proc.Entrypoint, w.create.NoEntrypoint = nil, true
	}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[name]; v != nil {
			proc.Env = append(proc.Env, name+"="+*v)
		}
	}
	proc.Dir, proc.User, proc.Groups = s.WorkingDir, s.User, s.GroupAdd
	proc.TTY, proc.OpenStdin = s.Tty, s.StdinOpen
	return nil
}

func (p *Project) restart(w *wanted) (err error) {
	s, policy := w.service, &w.create.Container.Restart
	if s.Restart != "" {
		*policy, err = opts.Restart(s.Restart)
		return err
	}
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return nil
	}
	rp := s.Deploy.RestartPolicy
	switch rp.Condition {
	case "none":
		policy.Mode = spec.RestartNo
	case "on-failure":
		policy.Mode = spec.RestartOnFailure
	case "any", "":
		policy.Mode = spec.RestartAlways
	default:
		return at("deploy.restart_policy.condition", fmt.Errorf("%q is none of none, on-failure and any", rp.Condition))
	}
	if rp.MaxAttempts == nil {
		return nil
	}
	if policy.Mode != spec.RestartOnFailure {
		return at("deploy.restart_policy.max_attempts", errors.New("needs the condition on-failure"))
	}
	policy.MaxRetries = int(*rp.MaxAttempts)
	return nil
}

func (p *Project) security(w *wanted) (err error) {
	s, sec := w.service, &w.create.Container.Security
	if *sec, err = opts.Security(s.SecurityOpt, os.ReadFile); err != nil {
		return err
	}
	sec.Privileged = s.Privileged
	if sec.CapAdd, err = parseAll(s.CapAdd, opts.Capability); err != nil {
		return at("cap_add", err)
	}
	sec.CapDrop, err = parseAll(s.CapDrop, opts.Capability)
	return at("cap_drop", err)
}

// parseAll turns each string of a list into something.
func parseAll[T any](list []string, parse func(string) (T, error)) (out []T, err error) {
	for _, s := range list {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (p *Project) devices(w *wanted) (err error) {
	var list []string
	for _, d := range w.service.Devices {
		text := d.Source
		if d.Target != "" {
			text += ":" + d.Target
		}
		if d.Permissions != "" {
			text += ":" + d.Permissions
		}
		list = append(list, text)
	}
	w.create.Container.Devices, err = parseAll(list, opts.Device)
	return err
}

func (p *Project) ulimits(w *wanted) (err error) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(w.service.Ulimits)) {
		u := w.service.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		list = append(list, fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	w.create.Container.Ulimits, err = parseAll(list, opts.Ulimit)
	return err
}

func (p *Project) sysctls(w *wanted) error {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(w.service.Sysctls)) {
		list = append(list, name+"="+w.service.Sysctls[name])
	}
	pairs, err := parseAll(list, opts.Sysctl)
	w.create.Container.Sysctls = opts.Map(pairs)
	return err
}

func (p *Project) logging(w *wanted) error {
	if w.service.Logging == nil {
		return nil
	}
	l, err := opts.Log(w.service.Logging.Driver, w.service.Logging.Options)
	if err != nil {
		return err
	}
	w.create.Container.Log.Driver = l.Driver
	w.create.LogTag, w.create.LogLabels, w.create.LogEnv = l.Tag, l.Labels, l.Env
	return nil
}

// limits reads the keys of version 2 of the format and those below deploy, which
// compose-go makes agree.
func (p *Project) limits(w *wanted) (err error) {
	s := w.service
	memory, cpus, pids, reservation := int64(s.MemLimit), float64(s.CPUS), s.PidsLimit, int64(s.MemReservation)
	if d := s.Deploy; d != nil && d.Resources.Limits != nil {
		l := d.Resources.Limits
		memory, cpus, pids = or(memory, int64(l.MemoryBytes)), or(cpus, float64(l.NanoCPUs.Value())), or(pids, l.Pids)
	}
	if d := s.Deploy; d != nil && d.Resources.Reservations != nil {
		reservation = or(reservation, int64(d.Resources.Reservations.MemoryBytes))
	}
	l := &w.create.Container.Limits
	if *l, err = opts.Memory(memory, int64(s.MemSwapLimit)); err != nil {
		return err
	}
	l.ReservationBytes = reservation
	if cpus != 0 {
		if l.CPUMillis, err = opts.CPUs(strconv.FormatFloat(cpus, 'f', -1, 32)); err != nil {
			return at("cpus", err)
		}
	}
	if s.CPUPeriod != 0 && s.CPUQuota == 0 {
		return at("cpu_period", fmt.Errorf("it is the period of cpu_quota, which is not given: %w", spec.ErrInvalid))
	}
	quota, err := opts.Quota(s.CPUQuota, s.CPUPeriod)
	if err != nil {
		return at("cpu_quota", err)
	}
	if quota != 0 && cpus != 0 {
		return at("cpu_quota", errors.New("cannot be given together with cpus"))
	}
	l.CPUMillis += quota
	l.CPUShares, l.CPUSet, l.Pids, l.OOMScoreAdj = s.CPUShares, s.CPUSet, max(pids, 0), int(s.OomScoreAdj)
	if b := s.BlkioConfig; b != nil {
		l.IOWeight = b.Weight
		l.ReadBPS, l.WriteBPS = throttles(b.DeviceReadBps), throttles(b.DeviceWriteBps)
		l.ReadIOPS, l.WriteIOPS = throttles(b.DeviceReadIOps), throttles(b.DeviceWriteIOps)
	}
	return nil
}

func throttles(list []types.ThrottleDevice) (out []spec.DeviceLimit) {
	for _, t := range list {
		out = append(out, spec.DeviceLimit{Path: t.Path, Rate: uint64(t.Rate)})
	}
	return out
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (p *Project) namespaces(w *wanted) (err error) {
	s, ct := w.service, &w.create.Container
	if ct.PIDMode, err = p.mode(w, s.Pid, opts.PIDMode); err != nil {
		return err
	}
	if ct.IPCMode, err = p.mode(w, s.Ipc, opts.IPCMode); err != nil {
		return at("ipc", err)
	}
	if s.Uts != "" {
		if ct.UTSMode, err = opts.UTSMode(s.Uts); err != nil {
			return at("uts", err)
		}
	}
	if s.Cgroup != "" {
		ct.CgroupnsMode, err = opts.CgroupnsMode(s.Cgroup)
	}
	return at("cgroup", err)
}

// mode reads a namespace that may be that of another service.
func (p *Project) mode(w *wanted, s string, parse func(string) (string, error)) (string, error) {
	if s == "" {
		return "", nil
	}
	if service, ok := strings.CutPrefix(s, types.ServicePrefix); ok {
		name, err := p.firstContainer(service)
		if err != nil {
			return "", err
		}
		w.bound = append(w.bound, service)
		s = types.ContainerPrefix + name
	}
	return parse(s)
}

// firstContainer returns the name of a service's container number 1.
func (p *Project) firstContainer(service string) (string, error) {
	s, ok := p.model.AllServices()[service]
	if !ok {
		return "", fmt.Errorf("there is no service %q", service)
	}
	return p.containerName(s, 1), nil
}

// containerName returns the name of a service's container number n.
func (p *Project) containerName(s types.ServiceConfig, n int) string {
	if s.ContainerName != "" {
		return s.ContainerName
	}
	return fmt.Sprintf("%s-%s-%d", p.Name(), s.Name, n)
}

func (p *Project) health(w *wanted) error {
	h := w.service.HealthCheck
	if h == nil {
		return nil
	}
	check := &spec.Healthcheck{Test: h.Test}
	if h.Disable {
		check.Test = []string{"NONE"}
	}
	for _, d := range []struct {
		from *types.Duration
		to   *time.Duration
	}{
		{h.Interval, &check.Interval}, {h.Timeout, &check.Timeout}, {h.StartPeriod, &check.StartPeriod}, {h.StartInterval, &check.StartInterval},
	} {
		if d.from != nil {
			*d.to = time.Duration(*d.from)
		}
	}
	if h.Retries != nil {
		check.Retries = int(*h.Retries)
	}
	w.create.Container.Healthcheck = check
	return nil
}

// hooks are the commands that run in a container once it has started.
func (p *Project) hooks(w *wanted) error {
	for _, h := range w.service.PostStart {
		opt, err := hookOptions(h)
		if err != nil {
			return err
		}
		w.hooks = append(w.hooks, *opt)
	}
	return nil
}

// hookOptions is a command in a container.
func hookOptions(h types.ServiceHook) (*engine.ExecOptions, error) {
	opt := &engine.ExecOptions{Argv: h.Command, User: h.User, Privileged: h.Privileged, Dir: h.WorkingDir}
	if len(opt.Argv) == 0 {
		return nil, errors.New("a hook needs a command")
	}
	for _, name := range slices.Sorted(maps.Keys(h.Environment)) {
		if v := h.Environment[name]; v != nil {
			opt.Env = append(opt.Env, name+"="+*v)
		}
	}
	return opt, nil
}
