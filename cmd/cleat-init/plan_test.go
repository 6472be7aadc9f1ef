package main

import (
	"encoding/binary"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// dockerCaps are the capabilities of a container by default.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// defaultPlan is the plan of a container as Docker would start it by default.
func defaultPlan(r *rig, args []string) plan.Plan {
	dir := r.store.Dir(r.id)
	return plan.Plan{
		Config: &specs.Spec{
			Version:  specs.Version,
			Root:     &specs.Root{Path: "rootfs"},
			Hostname: "testhost",
			Process: &specs.Process{
				Args: args, Cwd: "/",
				Env:          []string{"PATH=/usr/local/bin:/bin", "GREETING=hello"},
				Capabilities: &specs.LinuxCapabilities{Bounding: dockerCaps, Effective: dockerCaps, Permitted: dockerCaps},
			},
			Mounts: dockerMounts(),
			Linux: &specs.Linux{
				Namespaces: []specs.LinuxNamespace{
					{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.UTSNamespace},
					{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.CgroupNamespace},
				},
				Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
				MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
					"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/sys/devices/virtual/powercap", "/sys/firmware"},
				ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			},
		},
		Annex: plan.Annex{
			Version: plan.Version, ID: r.id, Name: "c" + r.id[48:], Unit: "cleat-c" + r.id[48:] + ".service",
			Rootfs:     plan.Rootfs{Lower: []string{built.image}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")},
			Seccomp:    denyFilter(),
			Stdio:      plan.Stdio{Socket: r.broker.path, Log: true},
			Restart:    spec.RestartPolicy{Mode: spec.RestartNo},
			StopSignal: int(unix.SIGTERM),
		},
	}
}

func dockerMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}},
	}
}

// bind adds a bind mount of a host's path.
func (r *rig) bind(source, dest string, options ...string) *rig {
	options = append([]string{"rbind", "rprivate"}, options...)
	r.plan.Config.Mounts = append(r.plan.Config.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: source, Options: options})
	return r
}

// layer puts an empty directory on top of the image and returns it.
func (r *rig) layer() string {
	dir := r.t.TempDir()
	r.plan.Annex.Rootfs.Lower = append([]string{dir}, r.plan.Annex.Rootfs.Lower...)
	return dir
}

// denyFilter is a seccomp filter that has acct(2) fail with EXDEV, which it does
// not by itself.
func denyFilter() []byte {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: unix.SYS_ACCT},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EXDEV)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},
	}
	var out []byte
	for _, c := range code {
		out = binary.NativeEndian.AppendUint16(out, c.Code)
		out = append(out, c.Jt, c.Jf)
		out = binary.NativeEndian.AppendUint32(out, c.K)
	}
	return out
}
