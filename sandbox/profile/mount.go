package profile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

const (
	shmPath         = "/dev/shm"
	defaultShmBytes = 64 << 20
)

// defaultMounts are what every container has, in Docker's order.
func defaultMounts(c spec.Container) []specs.Mount {
	shm := c.ShmBytes
	if shm == 0 {
		shm = defaultShmBytes
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: shmPath, Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(shm, 10)}},
	}
}

// maskedPaths and readonlyPaths are Docker's: what of procfs and sysfs tells
// about the host or changes it.
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// mounts returns all mounts in the order in which they are made, and the
// propagation that the root filesystem needs for them.
func mounts(c spec.Container, in Input) (all []specs.Mount, propagation string, err error) {
	own, propagation, err := userMounts(c, in)
	if err != nil {
		return nil, "", err
	}
	taken := func(path string) bool {
		return slices.ContainsFunc(own, func(m specs.Mount) bool { return m.Destination == path })
	}
	for _, m := range etcMounts(c, in) {
		if !taken(m.Destination) {
			own = append(own, m)
		}
	}
	for _, m := range unitMounts(c, in) {
		if taken(m.Destination) {
			return nil, "", fmt.Errorf("mount %s: the container needs that place itself (--secret, --sdnotify): %w", m.Destination, spec.ErrInvalid)
		}
		own = append(own, m)
	}
	if isHost(c.IPCMode) && !taken(shmPath) {
		own = append(own, specs.Mount{Destination: shmPath, Type: "bind", Source: shmPath, Options: []string{"rbind", "rprivate"}})
	}
	for _, m := range defaultMounts(c) {
		switch {
		case taken(m.Destination), taken("/dev") && strings.HasPrefix(m.Destination, "/dev/"):
		case m.Destination == shmPath && (c.IPCMode == "none" || joined(c.IPCMode) != ""):
		default:
			all = append(all, adjust(m, c))
		}
	}
	slices.SortStableFunc(own, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return append(all, own...), propagation, nil
}

// depth counts the elements of a path: what lies above has to be mounted first.
func depth(path string) int { return strings.Count(path, "/") }

// adjust opens /sys and the cgroups to privileged containers. A read-only root
// changes nothing here: the default mounts are what programs may write to
// anyway, or read-only from the start.
func adjust(m specs.Mount, c spec.Container) specs.Mount {
	if c.Security.Privileged && (m.Type == "sysfs" || m.Type == "cgroup") {
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" })
	}
	return m
}

// userMounts turns what the user asked for into mounts, in the user's order.
func userMounts(c spec.Container, in Input) (out []specs.Mount, propagation string, err error) {
	for _, m := range c.Mounts {
		target, err := checkTarget(m)
		if err != nil {
			return nil, "", err
		}
		if slices.ContainsFunc(out, func(o specs.Mount) bool { return o.Destination == target }) {
			return nil, "", fmt.Errorf("duplicate mount point: %s: %w", target, spec.ErrInvalid)
		}
		mount := specs.Mount{Destination: target}
		switch m.Type {
		case spec.MountBind:
			if mount, err = bindMount(mount, m, in.Host); err == nil {
				propagation = wider(propagation, m.Propagation)
			}
		case spec.MountVolume:
			mount, err = volumeMount(mount, m, in)
		case spec.MountTmpfs:
			mount, err = tmpfsMount(mount, m)
		default:
			err = fmt.Errorf("unknown type %q: %w", m.Type, spec.ErrInvalid)
		}
		if err != nil {
			return nil, "", fmt.Errorf("mount %s: %w", target, err)
		}
		out = append(out, mount)
	}
	return out, propagation, nil
}

// overProc are the files of procfs that may be covered, as in runc; LXCFS does.
const overProc = "/proc/cpuinfo /proc/diskstats /proc/meminfo /proc/stat /proc/swaps /proc/uptime /proc/loadavg /proc/slabinfo " +
	"/proc/net/dev /proc/sys/kernel/ns_last_pid /proc/sys/crypto/fips_enabled"

// checkTarget returns the cleaned target. Nothing but procfs itself may hide
// procfs: labels are written through it (CVE-2019-16884).
func checkTarget(m spec.Mount) (string, error) {
	if !filepath.IsAbs(m.Target) {
		return "", fmt.Errorf("mount target %q is not an absolute path: %w", m.Target, spec.ErrInvalid)
	}
	target := filepath.Clean(m.Target)
	inProc := target == "/proc" || strings.HasPrefix(target, "/proc/")
	switch {
	case target == "/":
		return "", fmt.Errorf("mount target can't be /: %w", spec.ErrInvalid)
	case strings.ContainsRune(target, 0):
		return "", fmt.Errorf("mount target %q: %w", target, spec.ErrInvalid)
	case target == "/proc" && m.Type == spec.MountBind && m.Source == "/proc":
	case inProc && !slices.Contains(strings.Fields(overProc), target):
		return "", fmt.Errorf("mount target %s: nothing can be mounted over procfs: %w", target, spec.ErrInvalid)
	}
	return target, nil
}

func bindMount(mount specs.Mount, m spec.Mount, h Host) (specs.Mount, error) {
	if !filepath.IsAbs(m.Source) || strings.ContainsRune(m.Source, 0) {
		return mount, fmt.Errorf("source %q is not an absolute path: %w", m.Source, spec.ErrInvalid)
	}
	propagation := m.Propagation
	if propagation == "" {
		propagation = "rprivate"
	}
	if !slices.Contains([]string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}, propagation) {
		return mount, fmt.Errorf("unknown propagation %q: %w", m.Propagation, spec.ErrInvalid)
	}
	mount.Type, mount.Source = "bind", filepath.Clean(m.Source)
	mount.Options = append(bindOptions(m, h), propagation)
	return mount, nil
}

// bindOptions returns the options of bind mounts and volumes but for their
// propagation. Like Docker since version 25, "read-only" includes the mounts
// below where the kernel can do that.
func bindOptions(m spec.Mount, h Host) []string {
	options := []string{"rbind"}
	if m.NonRecursive {
		options = []string{"bind"}
	}
	switch {
	case !m.ReadOnly:
	case !m.NonRecursive && h.Kernel.atLeast(5, 12):
		options = append(options, "rro")
	default:
		options = append(options, "ro")
	}
	return options
}

// wider returns the propagation that the root filesystem needs so that a mount
// with propagation next works, given that of the mounts before.
func wider(sofar, next string) string {
	switch next {
	case "shared", "rshared":
		return "shared"
	case "slave", "rslave":
		if sofar == "" {
			return "rslave"
		}
	}
	return sofar
}

func volumeMount(mount specs.Mount, m spec.Mount, in Input) (specs.Mount, error) {
	if m.Source == "" || m.Source != filepath.Base(m.Source) || strings.HasPrefix(m.Source, ".") {
		return mount, fmt.Errorf("volume name %q: %w", m.Source, spec.ErrInvalid)
	}
	if m.Subpath != "" && (!filepath.IsLocal(m.Subpath) || filepath.Clean(m.Subpath) == ".") {
		return mount, fmt.Errorf("subpath %q leads out of the volume: %w", m.Subpath, spec.ErrInvalid)
	}
	mount.Type, mount.Source = "bind", filepath.Join(volumeDir(m, in), m.Subpath)
	mount.Options = bindOptions(m, in.Host)
	return mount, nil
}

func volumeDir(m spec.Mount, in Input) string { return filepath.Join(in.VolumesDir, m.Source, "_data") }

// volumeNotes returns which volumes to fill from the image, and which sources
// lie inside volumes, see plan.Annex.
func volumeNotes(c spec.Container, in Input) (fill []plan.CopyUp, within map[string]string) {
	for _, m := range c.Mounts {
		target := filepath.Clean(m.Target)
		switch {
		case m.Type != spec.MountVolume:
		case m.Subpath != "":
			if within == nil {
				within = map[string]string{}
			}
			within[target] = volumeDir(m, in)
		case !m.NoCopy:
			fill = append(fill, plan.CopyUp{Target: target, Volume: volumeDir(m, in)})
		}
	}
	return fill, within
}

// unitMounts are what a container has of its unit: secrets, and a socket for what
// its payload says.
func unitMounts(c spec.Container, in Input) (out []specs.Mount) {
	if len(c.Secrets) > 0 {
		// In contrast to tmpfs, ramfs is never written to a swap device.
		out = append(out, specs.Mount{
			Destination: spec.SecretsDir, Type: "ramfs", Source: "secrets", Options: []string{"ro", "nosuid", "nodev", "noexec", "mode=755"},
		})
	}
	if c.Notify == spec.NotifyContainer {
		out = append(out, specs.Mount{
			Destination: plan.NotifyTarget, Type: "bind", Source: filepath.Join(in.NotifyDir, c.ID), Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	return out
}

// etcMounts are the files that describe the network. A container in another's
// network has the other's, but its own hostname.
func etcMounts(c spec.Container, in Input) []specs.Mount {
	own := filepath.Join(in.ContainersDir, c.ID)
	shared := own
	if id := joined(c.Network.Mode); id != "" {
		shared = filepath.Join(in.ContainersDir, id)
	}
	options := []string{"rbind", "rprivate"}
	if c.ReadOnly {
		options = []string{"rbind", "ro", "rprivate"}
	}
	return []specs.Mount{
		{Destination: "/etc/resolv.conf", Type: "bind", Source: filepath.Join(shared, resolvFile), Options: options},
		{Destination: "/etc/hostname", Type: "bind", Source: filepath.Join(own, hostnameFile), Options: options},
		{Destination: "/etc/hosts", Type: "bind", Source: filepath.Join(shared, hostsFile), Options: options},
	}
}
