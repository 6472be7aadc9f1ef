package engine

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// InspectOptions says what Inspect finds out beside what is at hand.
type InspectOptions struct {
	Size bool // also how much the container has written, and how much that is with its image
}

// Inspect returns a container in Docker's form.
func (e *Engine) Inspect(ctx context.Context, ref string, opt InspectOptions) (*ContainerInspect, error) {
	c, err := e.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	f := inspectFacts{dir: e.state.Dir(c.ID), volumeDir: e.state.VolumeDir}
	p, err := plan.Load(f.dir)
	if err != nil {
		return nil, err
	}
	f.rootfs = p.Annex.Rootfs
	if p.Config.Linux != nil {
		f.masked, f.readonly = p.Config.Linux.MaskedPaths, p.Config.Linux.ReadonlyPaths
	}
	if f.live, err = e.wires().Lives().Load(c.ID); err != nil && !isNotFound(err) {
		return nil, err
	}
	unit, limits, err := e.inspectUnit(ctx, c.Container)
	if err != nil {
		return nil, err
	}
	c.Limits = limits
	if c.Status == StatusSleeping {
		f.open = c.Ports
	}
	out := inspectContainer(c, f)
	out.Unit = unit
	if opt.Size {
		sizes, err := e.Sizes(ctx, []Container{c})
		if err != nil {
			return nil, err
		}
		out.SizeRw, out.SizeRootFs = new(sizes[0].WritableBytes), new(sizes[0].TotalBytes)
	}
	return out, nil
}

// inspectFacts are what a container's record does not say by itself.
type inspectFacts struct {
	dir              string // of the container's files
	volumeDir        func(name string) string
	rootfs           plan.Rootfs
	masked, readonly []string    // paths in the container
	live             netd.Live   // what it has of its networks; zero if it does not run
	open             []spec.Port // ports of a container that sleeps
}

// inspectContainer turns c into Docker's form. It is pure.
func inspectContainer(c Container, f inspectFacts) *ContainerInspect {
	argv := c.Process.Argv()
	out := &ContainerInspect{
		ID: c.ID, Created: stamp(c.Created), Args: []string{}, State: inspectState(c), Image: c.Image.ID,
		ResolvConfPath: filepath.Join(f.dir, "resolv.conf"), HostnamePath: filepath.Join(f.dir, "hostname"), HostsPath: filepath.Join(f.dir, "hosts"),
		Name: "/" + c.Name, RestartCount: c.Run.RestartCount, Driver: "overlay", Platform: "linux", AppArmorProfile: c.Security.AppArmor,
		HostConfig: inspectHostConfig(c.Container, f), GraphDriver: inspectLayers(f.rootfs), Mounts: inspectMounts(c.Mounts, f.volumeDir),
		Config: inspectConfig(c.Container), NetworkSettings: inspectNetworks(c.Container, f.live, f.open),
	}
	if len(argv) > 0 {
		out.Path, out.Args = argv[0], argv[1:]
	}
	return out
}

func inspectState(c Container) *ContainerState {
	s := &ContainerState{
		Status: c.Status, OOMKilled: c.Run.OOMKilled, Dead: c.Status == StatusDead, Pid: c.PID, ExitCode: c.Run.ExitCode, Error: c.Run.Error,
		StartedAt: stamp(c.Run.StartedAt), FinishedAt: stamp(c.Run.FinishedAt),
		Paused: c.Status == StatusPaused, Restarting: c.Status == StatusRestarting,
	}
	s.Health = inspectHealth(c.Health)
	s.Running = c.Status == StatusRunning || s.Paused || s.Restarting
	if s.Running && !s.Restarting {
		s.ExitCode = 0 // that of the run before is history
	}
	return s
}

func inspectConfig(c spec.Container) *ContainerConfig {
	p := c.Process
	out := &ContainerConfig{
		Hostname: cmp.Or(c.Hostname, spec.ShortID(c.ID)), Domainname: c.Domainname, User: p.User,
		AttachStdin: p.StdinOnce, AttachStdout: true, AttachStderr: true, Tty: p.TTY, OpenStdin: p.OpenStdin, StdinOnce: p.StdinOnce,
		Env: emptyNotNil(p.Env), Cmd: p.Cmd, Image: c.Image.Reference, WorkingDir: p.Dir, Entrypoint: p.Entrypoint,
		Labels: c.Labels, StopSignal: c.StopSignal, ExposedPorts: exposedPorts(c.Network),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	for _, m := range c.Mounts {
		if m.Anonymous {
			if out.Volumes == nil {
				out.Volumes = map[string]struct{}{}
			}
			out.Volumes[m.Target] = struct{}{}
		}
	}
	out.Healthcheck, out.HealthcheckOnFailureAction = inspectCheck(c.Healthcheck)
	if c.StopTimeout != nil {
		out.StopTimeout = new(int(*c.StopTimeout / time.Second))
	}
	return out
}

func inspectLayers(r plan.Rootfs) GraphDriver {
	return GraphDriver{Name: "overlay", Data: map[string]string{
		"LowerDir":  strings.Join(r.Lower, ":"),
		"MergedDir": "", // it is mounted in the container's own mount namespace alone
		"UpperDir":  r.Upper,
		"WorkDir":   r.Work,
	}}
}

// inspectMounts lists the mounts but for those of tmpfs, which Docker has under
// HostConfig alone.
func inspectMounts(mounts []spec.Mount, volumeDir func(string) string) []MountPoint {
	out := []MountPoint{}
	for _, m := range mounts {
		if m.Type == spec.MountTmpfs {
			continue
		}
		p := MountPoint{Type: string(m.Type), Source: m.Source, Destination: m.Target, RW: !m.ReadOnly}
		if m.ReadOnly {
			p.Mode = "ro"
		}
		switch m.Type {
		case spec.MountBind:
			p.Propagation = cmp.Or(m.Propagation, "rprivate")
		case spec.MountVolume:
			if !m.Anonymous {
				p.Mode = cmp.Or(bindOptions(m), "z") // z is what Docker says if the user says nothing
			}
			p.Name, p.Driver, p.Source = m.Source, "local", filepath.Join(volumeDir(m.Source), m.Subpath)
		case spec.MountTmpfs:
		}
		out = append(out, p)
	}
	return out
}

func inspectHostConfig(c spec.Container, f inspectFacts) *HostConfig {
	h := &HostConfig{
		LogConfig: LogConfigInspect{Type: cmp.Or(c.Log.Driver, "journald"), Config: map[string]string{}}, NetworkMode: c.Network.Mode,
		PortBindings: portBindings(c.Network.Ports), PublishAllPorts: c.Network.PublishAll, Links: linkNames(c),
		RestartPolicy: RestartPolicyInspect{string(cmp.Or(c.Restart.Mode, spec.RestartNo)), c.Restart.MaxRetries},
		AutoRemove:    c.AutoRemove, ConsoleSize: [2]uint16{c.Process.TTYHeight, c.Process.TTYWidth},
		CapAdd: capNames(c.Security.CapAdd), CapDrop: capNames(c.Security.CapDrop), CgroupnsMode: cmp.Or(c.CgroupnsMode, "private"),
		DNS: emptyNotNil(c.Network.DNS), DNSOptions: emptyNotNil(c.Network.DNSOptions), DNSSearch: emptyNotNil(c.Network.DNSSearch),
		ExtraHosts: c.Network.ExtraHosts, GroupAdd: c.Process.Groups, IpcMode: cmp.Or(c.IPCMode, "private"), OomScoreAdj: c.Limits.OOMScoreAdj,
		PidMode: c.PIDMode, Privileged: c.Security.Privileged, ReadonlyRootfs: c.ReadOnly, SecurityOpt: securityOptions(c.Security),
		UTSMode: c.UTSMode, ShmSize: cmp.Or(c.ShmBytes, 64<<20), Sysctls: c.Sysctls, Runtime: runtimeName, CgroupParent: cmp.Or(c.Slice, unitgen.DefaultSlice),
		Devices: []DeviceInspect{}, Ulimits: []UlimitInspect{}, BlkioWeightDevice: []WeightInspect{}, Annotations: c.Annotations,
		MaskedPaths: f.masked, ReadonlyPaths: f.readonly,
	}
	if c.Activated() {
		h.Activation = &ActivationInspect{string(c.Activation.Mode), int64(c.Activation.IdleTimeout)}
	}
	if c.Log.Tag != "" {
		h.LogConfig.Config["tag"] = c.Log.Tag
	}
	if c.Init {
		h.Init = new(true)
	}
	for _, d := range c.Devices {
		h.Devices = append(h.Devices, DeviceInspect{d.Host, d.Container, d.Permissions})
	}
	for _, r := range c.DeviceRules {
		h.DeviceCgroupRules = append(h.DeviceCgroupRules, r.String())
	}
	for _, u := range c.Ulimits {
		h.Ulimits = append(h.Ulimits, UlimitInspect{u.Name, u.Hard, u.Soft})
	}
	h.setLimits(c.Limits)
	for _, m := range c.Mounts {
		h.addMount(m)
	}
	return h
}

// capNames writes capabilities as the kernel calls them.
func capNames(list []string) []string {
	var out []string
	for _, name := range list {
		if name != "ALL" {
			name = "CAP_" + name
		}
		out = append(out, name)
	}
	return out
}

// setLimits turns limits into Docker's encodings.
func (h *HostConfig) setLimits(l spec.Limits) {
	h.CPUShares, h.Memory, h.NanoCPUs, h.MemoryReservation = l.CPUShares, l.MemoryBytes, l.CPUMillis*1e6, l.ReservationBytes
	h.CpusetCpus, h.CpusetMems, h.BlkioWeight = l.CPUSet, l.MemoryNodes, l.IOWeight
	switch {
	case l.SwapBytes < 0:
		h.MemorySwap = -1
	case l.NoSwap:
		h.MemorySwap = l.MemoryBytes
	case l.SwapBytes > 0:
		h.MemorySwap = l.MemoryBytes + l.SwapBytes
	}
	if l.Pids > 0 {
		h.PidsLimit = new(l.Pids)
	}
	for _, w := range l.IODeviceWeights {
		h.BlkioWeightDevice = append(h.BlkioWeightDevice, WeightInspect{w.Path, uint16(w.Rate)})
	}
	h.BlkioDeviceReadBps, h.BlkioDeviceWriteBps = throttles(l.ReadBPS), throttles(l.WriteBPS)
	h.BlkioDeviceReadIOps, h.BlkioDeviceWriteIOps = throttles(l.ReadIOPS), throttles(l.WriteIOPS)
}

func throttles(limits []spec.DeviceLimit) []ThrottleInspect {
	out := []ThrottleInspect{}
	for _, l := range limits {
		out = append(out, ThrottleInspect(l))
	}
	return out
}

// addMount lists a mount under the flag that makes it.
func (h *HostConfig) addMount(m spec.Mount) {
	switch {
	case m.Anonymous: // of Config.Volumes
	case m.Type == spec.MountTmpfs:
		if h.Tmpfs == nil {
			h.Tmpfs = map[string]string{}
		}
		h.Tmpfs[m.Target] = tmpfsOptions(m)
	case m.Type == spec.MountVolume || m.CreateSource:
		bind := m.Source + ":" + m.Target
		if options := bindOptions(m); options != "" {
			bind += ":" + options
		}
		h.Binds = append(h.Binds, bind)
	default:
		h.Mounts = append(h.Mounts, MountInspect{string(m.Type), m.Source, m.Target, m.ReadOnly})
	}
}

func bindOptions(m spec.Mount) string {
	var words []string
	if m.ReadOnly {
		words = append(words, "ro")
	}
	if m.NoCopy {
		words = append(words, "nocopy")
	}
	if m.Propagation != "" {
		words = append(words, m.Propagation)
	}
	return strings.Join(words, ",")
}

func tmpfsOptions(m spec.Mount) string {
	var words []string
	if m.ReadOnly {
		words = append(words, "ro")
	}
	if m.TmpfsBytes > 0 {
		words = append(words, "size="+strconv.FormatInt(m.TmpfsBytes, 10))
	}
	if m.TmpfsMode > 0 {
		words = append(words, "mode="+strconv.FormatUint(uint64(m.TmpfsMode), 8))
	}
	return strings.Join(append(words, m.Options...), ",")
}

// securityOptions rebuilds the values of --security-opt.
func securityOptions(s spec.Security) []string {
	var out []string
	if s.NoNewPrivileges {
		out = append(out, "no-new-privileges")
	}
	if s.Seccomp != "" {
		out = append(out, "seccomp="+s.Seccomp)
	}
	if s.AppArmor != "" {
		out = append(out, "apparmor="+s.AppArmor)
	}
	return out
}

// emptyNotNil makes a list that is printed as [] rather than null.
func emptyNotNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
