package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// createBody is the request for a container: moby's, with what older clients send.
type createBody struct {
	*container.Config
	Cmd              words
	Entrypoint       words
	MacAddress       string // of the first network, before version 1.52
	HostConfig       *container.HostConfig
	NetworkingConfig *network.NetworkingConfig

	old oldHostConfig
}

// oldHostConfig is what HostConfig had and moby's type has no more.
type oldHostConfig struct{ KernelMemory, KernelMemoryTCP int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (in *createBody) UnmarshalJSON(data []byte) error {
	type plain createBody
	if err := json.Unmarshal(data, (*plain)(in)); err != nil {
		return err
	}
	var old struct{ HostConfig oldHostConfig }
	err := json.Unmarshal(data, &old)
	in.old = old.HostConfig
	return err
}

// words is a command: a list, or, from old clients, one string.
type words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*w = make(words, 1)
		return json.Unmarshal(data, &(*w)[0])
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// options turns a request into what the engine takes. This is the only place where
// the objects of the API become the nouns of package spec.
func (in createBody) options(v version) (engine.CreateOptions, error) {
	if in.Config == nil {
		return engine.CreateOptions{}, invalid("config cannot be empty in order to create a container")
	}
	host := in.HostConfig
	if host == nil {
		host = &container.HostConfig{}
	}
	if err := refuse(in.Config, host, in.old); err != nil {
		return engine.CreateOptions{}, err
	}
	opt := engine.CreateOptions{
		Image: in.Image, VolumesFrom: host.VolumesFrom, NoEntrypoint: in.Entrypoint != nil && strings.Join(in.Entrypoint, "") == "",
	}
	c := &opt.Container
	c.Labels, c.Hostname, c.Domainname = in.Labels, in.Hostname, in.Domainname
	c.AutoRemove, c.ReadOnly, c.ShmBytes, c.Sysctls = host.AutoRemove, host.ReadonlyRootfs, host.ShmSize, host.Sysctls
	c.Init = host.Init != nil && *host.Init
	c.StopSignal, c.Healthcheck = in.StopSignal, healthcheck(in.Healthcheck, in.Shell)
	if in.StopTimeout != nil {
		c.StopTimeout = new(time.Duration(*in.StopTimeout) * time.Second)
	}
	c.Process, c.Annotations = in.process(host), host.Annotations
	steps := []func() error{
		func() (err error) { c.Restart, err = restartPolicy(host.RestartPolicy); return },
		func() (err error) { c.Security, err = security(host); return },
		func() (err error) { c.Limits, err = limits(host); return },
		func() (err error) { c.Mounts, err = mounts(in.Config, host); return },
		func() (err error) { c.Devices, c.Ulimits, err = devices(host.Resources); return },
		func() (err error) { c.DeviceRules, err = deviceRules(host.DeviceCgroupRules); return },
		func() error { return namespaces(c, host) },
		func() error { return logConfig(&opt, host.LogConfig) },
		func() (err error) { c.Network, err = in.network(host); return },
		func() (err error) { opt.Networks, err = in.requests(host, v); return },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return opt, badRequest(err)
		}
	}
	if c.AutoRemove && c.Restart.Mode != "" && c.Restart.Mode != spec.RestartNo {
		return opt, invalid("can't create 'AutoRemove' container with restart policy")
	}
	return opt, nil
}

// badRequest gives an error of a parser, which has no class, that of what the
// client has done wrong.
func badRequest(err error) error {
	if status(err) != http.StatusInternalServerError {
		return err
	}
	return httpError{http.StatusBadRequest, message(err)}
}

func (in createBody) process(host *container.HostConfig) spec.Process {
	p := spec.Process{
		Cmd: in.Cmd, Env: in.Env, Dir: in.WorkingDir, User: in.User, Groups: host.GroupAdd,
		TTY: in.Tty, OpenStdin: in.OpenStdin, StdinOnce: in.StdinOnce,
	}
	if strings.Join(in.Entrypoint, "") != "" {
		p.Entrypoint = in.Entrypoint
	}
	if len(p.Cmd) == 0 {
		p.Cmd = nil
	}
	if in.Tty {
		p.TTYHeight, p.TTYWidth = consoleSize(&host.ConsoleSize)
	}
	return p
}

func restartPolicy(p container.RestartPolicy) (spec.RestartPolicy, error) {
	text := string(p.Name)
	if p.MaximumRetryCount != 0 && text != "" {
		text += ":" + strconv.Itoa(p.MaximumRetryCount)
	}
	return opts.Restart(text)
}

// security reads who may do what. Clients send the text of seccomp profiles.
func security(host *container.HostConfig) (spec.Security, error) {
	inline := func(text string) ([]byte, error) { return []byte(text), nil }
	s, err := opts.Security(host.SecurityOpt, inline)
	if err != nil {
		return s, err
	}
	s.Privileged = host.Privileged
	for _, set := range []struct {
		from []string
		to   *[]string
	}{{host.CapAdd, &s.CapAdd}, {host.CapDrop, &s.CapDrop}} {
		for _, name := range set.from {
			parsed, err := opts.Capability(name)
			if err != nil {
				return s, err
			}
			*set.to = append(*set.to, parsed)
		}
	}
	// The command line says systempaths=unconfined by two empty lists.
	s.Unmask = s.Unmask || host.MaskedPaths != nil && len(host.MaskedPaths) == 0 && host.ReadonlyPaths != nil && len(host.ReadonlyPaths) == 0
	return s, nil
}

// namespaces reads what the container shares with others.
func namespaces(c *spec.Container, host *container.HostConfig) (err error) {
	for _, mode := range []struct {
		to    *string
		text  string
		parse func(string) (string, error)
	}{
		{&c.PIDMode, string(host.PidMode), opts.PIDMode},
		{&c.IPCMode, string(host.IpcMode), opts.IPCMode},
		{&c.UTSMode, string(host.UTSMode), opts.UTSMode},
		{&c.CgroupnsMode, string(host.CgroupnsMode), opts.CgroupnsMode},
	} {
		if *mode.to, err = mode.parse(mode.text); err != nil {
			return err
		}
	}
	return nil
}

func logConfig(opt *engine.CreateOptions, in container.LogConfig) error {
	l, err := opts.Log(in.Type, in.Config)
	if err != nil {
		return err
	}
	opt.Container.Log.Driver, opt.LogTag, opt.LogLabels, opt.LogEnv = l.Driver, l.Tag, l.Labels, l.Env
	return nil
}

func deviceRules(in []string) (out []spec.DeviceRule, err error) {
	for _, text := range in {
		rule, err := opts.DeviceRule(text)
		if err != nil {
			return nil, err
		}
		out = append(out, rule)
	}
	return out, nil
}

// devices reads devices and ulimits.
func devices(in container.Resources) (list []spec.Device, ulimits []spec.Ulimit, err error) {
	for _, d := range in.Devices {
		parsed, err := opts.Device(strings.Join([]string{d.PathOnHost, cmp.Or(d.PathInContainer, d.PathOnHost), cmp.Or(d.CgroupPermissions, "rwm")}, ":"))
		if err != nil {
			return nil, nil, err
		}
		list = append(list, parsed)
	}
	for _, u := range in.Ulimits {
		if u == nil {
			return nil, nil, invalid("a ulimit cannot be null")
		}
		parsed, err := opts.Ulimit(u.String())
		if err != nil {
			return nil, nil, err
		}
		ulimits = append(ulimits, parsed)
	}
	return list, ulimits, nil
}

// mounts reads the four places where mounts are.
func mounts(cfg *container.Config, host *container.HostConfig) ([]spec.Mount, error) {
	var out []spec.Mount
	volume := opts.VolumeParser("/")
	for _, bind := range host.Binds {
		m, err := volume(bind)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(bind, "/") && m.Type == spec.MountBind {
			return nil, invalid("invalid volume specification: '%s': a path of the host has to be absolute", bind)
		}
		out = append(out, m)
	}
	for _, in := range host.Mounts {
		m, err := convertMount(in)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	for target, options := range host.Tmpfs {
		m, err := opts.Tmpfs(target + ":" + options)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	for target := range cfg.Volumes {
		m, err := volume(target)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(o spec.Mount) bool { return o.Target == m.Target }) {
			out = append(out, m)
		}
	}
	for _, m := range out {
		if strings.ContainsRune(m.Source+m.Target, 0) {
			return nil, invalid("invalid volume specification: %q has a NUL byte", m.Source+":"+m.Target)
		}
	}
	sortMounts(out)
	return out, nil
}

// sortMounts puts mounts that came from maps into an order of their own.
func sortMounts(list []spec.Mount) {
	slices.SortStableFunc(list, func(a, b spec.Mount) int { return strings.Compare(a.Target, b.Target) })
}
