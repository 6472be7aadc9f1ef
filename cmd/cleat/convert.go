package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// options turns the flags of run and create into what the engine takes. This is
// the only place where Docker's flags become the nouns of package spec. Args is
// the image and the command.
func (f *createFlags) options(fs *pflag.FlagSet, c *cli, args []string) (engine.CreateOptions, error) {
	opt := engine.CreateOptions{
		Image: args[0], Platform: f.platform, VolumesFrom: slices.Clone(f.volumesFrom),
		NoEntrypoint: fs.Changed("entrypoint") && f.entrypoint == "",
	}
	ct := &opt.Container
	ct.Name, ct.AutoRemove, ct.Init, ct.StopSignal = f.name, f.autoRemove, f.init, f.stopSignal
	ct.Requires, ct.After = f.requires.Values, f.after.Values
	ct.SurviveSoftReboot = f.survive
	if fs.Changed("stop-timeout") {
		ct.StopTimeout = new(time.Duration(f.stopTimeout) * time.Second)
	}
	steps := []func() error{
		func() (err error) { opt.Pull, err = pullPolicy(f.pull); return },
		func() (err error) { ct.Restart, err = f.restartPolicy(fs); return },
		func() (err error) { ct.Labels, err = f.allLabels(); return },
		func() (err error) { ct.Process, err = f.process(c, args[1:]); return },
		func() (err error) { ct.Security, err = f.security(); return },
		func() (err error) { ct.Limits, err = f.limits(fs); return },
		func() error { return f.log(&opt) },
		func() (err error) { ct.Healthcheck, err = f.health(); return },
		func() (err error) { ct.Notify, err = f.notifyMode(); return },
		func() (err error) { opt.Networks, err = f.requests(); return },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return engine.CreateOptions{}, err
		}
	}
	ct.Mounts = slices.Concat(f.volumes.Values, f.mounts.Values, f.tmpfs.Values)
	ct.DeviceRules, ct.Annotations = f.deviceRules.Values, opts.Map(f.annotations.Values)
	ct.Secrets = f.secrets.Values
	ct.Devices, ct.ReadOnly, ct.ShmBytes = f.devices.Values, f.readOnly, f.shm.Value
	ct.Ulimits, ct.Sysctls = f.ulimits.Values, opts.Map(f.sysctls.Values)
	ct.Hostname, ct.Domainname = f.hostname, f.domainname
	ct.PIDMode, ct.IPCMode, ct.UTSMode, ct.CgroupnsMode = f.pidMode.Value, f.ipcMode.Value, f.utsMode.Value, f.cgns.Value
	ct.Activation = spec.Activation{Mode: f.activate.Value, IdleTimeout: f.idle.Value}
	ct.Network = spec.Network{
		Ports: slices.Concat(f.publish.Values...), PublishAll: f.publishAll, Exposed: slices.Concat(f.expose.Values...),
		ExtraHosts: f.extraHosts.Values,
		DNS:        f.dns.Values, DNSSearch: f.search.Values, DNSOptions: f.dnsOptions.Values,
	}
	return opt, nil
}

func pullPolicy(s string) (engine.PullPolicy, error) {
	switch p := engine.PullPolicy(s); p {
	case engine.PullAlways, engine.PullMissing, engine.PullNever:
		return p, nil
	}
	return "", fmt.Errorf(`invalid pull option: '%s': must be one of "always", "missing" or "never"`, s)
}

func (f *createFlags) restartPolicy(fs *pflag.FlagSet) (spec.RestartPolicy, error) {
	p, err := opts.Restart(f.restart)
	if err != nil {
		return spec.RestartPolicy{}, err
	}
	if f.autoRemove && fs.Changed("restart") && p.Mode != spec.RestartNo && p.Mode != "" {
		return spec.RestartPolicy{}, errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	return p, nil
}

func (f *createFlags) allLabels() (map[string]string, error) {
	var fromFiles []string
	for _, path := range f.labelFiles {
		pairs, err := readListFile(path, opts.ReadLabelFile)
		if err != nil {
			return nil, err
		}
		fromFiles = append(fromFiles, pairs...)
	}
	return opts.Map(fromFiles, f.labels.Values), nil
}

// readListFile reads a file of variables or labels.
func readListFile(path string, read func(io.Reader) ([]string, error)) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	list, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

// environment joins the files of --env-file with the values of --env, which win.
func environment(files, values []string, lookup opts.Lookup) ([]string, error) {
	var fromFiles []string
	for _, path := range files {
		pairs, err := readListFile(path, func(r io.Reader) ([]string, error) { return opts.ReadEnvFile(r, lookup) })
		if err != nil {
			return nil, err
		}
		fromFiles = append(fromFiles, pairs...)
	}
	return opts.MergeEnv(fromFiles, values), nil
}

func (f *processFlags) process(c *cli, cmd []string) (spec.Process, error) {
	env, err := environment(f.envFiles, f.env.Values, c.lookup)
	if err != nil {
		return spec.Process{}, err
	}
	p := spec.Process{
		Env: env, Dir: f.dir, User: f.user, Groups: f.groups,
		TTY: f.tty, OpenStdin: f.interactive,
	}
	if len(cmd) > 0 {
		p.Cmd = cmd
	}
	if f.entrypoint != "" {
		p.Entrypoint = []string{f.entrypoint}
	}
	if p.TTY {
		p.TTYHeight, p.TTYWidth = windowSize(c.out)
	}
	return p, nil
}

func (f *securityFlags) security() (spec.Security, error) {
	s, err := opts.Security(f.options, os.ReadFile)
	if err != nil {
		return spec.Security{}, err
	}
	s.CapAdd, s.CapDrop, s.Privileged = f.capAdd.Values, f.capDrop.Values, f.privileged
	return s, nil
}

func (f *limitFlags) limits(fs *pflag.FlagSet) (spec.Limits, error) {
	l, err := opts.Memory(f.memory.Value, f.swap.Value)
	if err != nil {
		return spec.Limits{}, err
	}
	if fs.Changed("cpus") && fs.Changed("cpu-quota") {
		return spec.Limits{}, errors.New("conflicting options: --cpus and --cpu-quota cannot both be set")
	}
	if fs.Changed("cpus") && fs.Changed("cpu-period") {
		return spec.Limits{}, errors.New("conflicting options: --cpus and --cpu-period cannot both be set")
	}
	quota, err := opts.Quota(f.quota, f.period)
	if err != nil {
		return spec.Limits{}, err
	}
	l.ReservationBytes, l.CPUMillis = f.reservation.Value, f.cpus.Value+quota
	l.CPUShares, l.CPUSet, l.IOWeight, l.OOMScoreAdj = f.shares, f.cpuset, f.ioWeight, f.oomScoreAdj
	l.MemoryNodes, l.IODeviceWeights = f.memoryNodes, f.deviceWeights.Values
	l.Pids = max(f.pids, 0) // Docker's -1 is our 0: unlimited
	l.ReadBPS, l.WriteBPS, l.ReadIOPS, l.WriteIOPS = f.readBPS.Values, f.writeBPS.Values, f.readIOPS.Values, f.writeIOPS.Values
	return l, nil
}

func (f *logFlags) log(opt *engine.CreateOptions) error {
	options, err := opts.Log(f.driver, opts.Map(f.logOptions.Values))
	if err != nil {
		return err
	}
	opt.Container.Log.Driver = options.Driver
	opt.LogTag, opt.LogLabels, opt.LogEnv = options.Tag, options.Labels, options.Env
	return nil
}
