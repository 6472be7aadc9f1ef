package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/spec"
)

// mounter builds the mount tree of a container. It runs in the container's
// mount namespace while the host's tree is still there.
type mounter struct {
	config *specs.Spec
	within map[string]string // see plan.Annex
	root   inroot.Root

	secrets     []spec.Secret
	credentials string // directory of what systemd has loaded for the unit

	sources []int // of the bind mounts, detached, by index in config.Mounts; -1 for others
	late    []int // mounts to make read-only once everything is in place

	proc int // the container's procfs, -1 if it has none of its own
	dev  int // the container's own /dev, -1 if there is none
	pts  int // the container's own devpts, -1 if there is none
	shm  int // descriptor of the shared memory of another container, if it has that
}

func newMounter(config *specs.Spec, within map[string]string) *mounter {
	return &mounter{config: config, within: within, proc: -1, dev: -1, pts: -1}
}

// openSources opens what is to be bind-mounted, before anything of the
// container is in sight of a path.
func (m *mounter) openSources() error {
	for _, mnt := range m.config.Mounts {
		o, err := parseOptions(mnt.Type, mnt.Options)
		if err != nil {
			return fmt.Errorf("mount %s: %w", mnt.Destination, err)
		}
		fd := -1
		switch {
		case o.bind:
			fd, err = m.openSource(mnt, o)
		case mnt.Destination == spec.SecretsDir && len(m.secrets) > 0:
			fd, err = secretsTree(mnt, o, m.credentials, m.secrets)
		}
		if err != nil {
			return err
		}
		m.sources = append(m.sources, fd)
	}
	return nil
}

func (m *mounter) openSource(mnt specs.Mount, o mountOptions) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.recursive {
		flags |= unix.AT_RECURSIVE
	}
	var fd int
	var err error
	if dir := m.within[mnt.Destination]; dir != "" {
		fd, err = openTreeWithin(dir, mnt.Source, flags)
	} else {
		fd, err = unix.OpenTree(unix.AT_FDCWD, mnt.Source, flags)
	}
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("bind source path does not exist: %s", mnt.Source)
	}
	if err != nil {
		return -1, fmt.Errorf("bind %s: %w", mnt.Source, err)
	}
	return fd, nil
}

// openTreeWithin opens a path in a directory whose content containers change,
// without leaving that directory.
func openTreeWithin(dir, source string, flags uint) (int, error) {
	rest, ok := strings.CutPrefix(source, dir+"/")
	if !ok {
		return -1, fmt.Errorf("not below %s: %w", dir, spec.ErrInvalid)
	}
	root, err := inroot.Open(dir)
	if err != nil {
		return -1, err
	}
	defer root.Close()
	fd, err := root.OpenReal(rest, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer closeFd(fd)
	return unix.OpenTree(fd, "", flags|unix.AT_EMPTY_PATH)
}

// mountAll makes the mounts of the configuration, in its order.
func (m *mounter) mountAll() error {
	for i, mnt := range m.config.Mounts {
		if err := m.mount(mnt, m.sources[i]); err != nil {
			return fmt.Errorf("mount %s: %w", mnt.Destination, err)
		}
	}
	return nil
}

// mount makes one mount; source is that of a bind mount.
func (m *mounter) mount(mnt specs.Mount, source int) error {
	o, err := parseOptions(mnt.Type, mnt.Options)
	if err != nil {
		return err
	}
	fd := source
	if fd < 0 {
		fd, err = m.newFilesystem(mnt, &o)
	} else {
		err = o.apply(fd)
	}
	if err != nil {
		return err
	}
	target, err := m.target(mnt.Destination, fd)
	if err != nil {
		closeFd(fd)
		return err
	}
	defer closeFd(target)
	if err := attach(fd, target); err != nil {
		closeFd(fd)
		return err
	}
	m.keep(mnt, fd)
	return nil
}

// keep notes the descriptors that are of further use.
func (m *mounter) keep(mnt specs.Mount, fd int) {
	switch dest := path.Clean(mnt.Destination); {
	case mnt.Type == "proc" && dest == "/proc":
		m.proc = fd
	case mnt.Type == "devpts" && dest == "/dev/pts":
		m.pts = fd
	case mnt.Type == "tmpfs" && dest == "/dev":
		m.dev = fd
	case slices.Contains(m.late, fd):
	default:
		closeFd(fd)
	}
}

// attach puts the detached tree fd on the directory or file target.
func attach(fd, target int) error {
	return unix.MoveMount(fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// newFilesystem makes a new instance of a filesystem and returns its mount.
// A tmpfs stays writable until all mounts have found their place in it.
func (m *mounter) newFilesystem(mnt specs.Mount, o *mountOptions) (int, error) {
	kind := mnt.Type
	if kind == "cgroup" {
		if !m.hasNew(specs.CgroupNamespace) {
			return hostCgroups(*o)
		}
		kind = "cgroup2"
	}
	data := o.data
	if label := m.config.Linux.MountLabel; label != "" && (kind == "tmpfs" || kind == "devpts" || kind == "mqueue") {
		data = append(slices.Clip(data), "context="+label)
	}
	late := kind == "tmpfs" && o.set&unix.MOUNT_ATTR_RDONLY != 0
	attr := o.set | o.setAll
	if late {
		attr &^= unix.MOUNT_ATTR_RDONLY
	}
	fd, err := mountNew(kind, mnt.Source, data, attr)
	if err == nil && o.propagation != 0 {
		err = setAttributes(fd, unix.AT_EMPTY_PATH, unix.MountAttr{Propagation: o.propagation})
	}
	if err == nil && late {
		m.late = append(m.late, fd)
	}
	return fd, err
}

// mountNew returns a detached mount of a new instance of a filesystem.
func mountNew(kind, source string, data []string, attr uint64) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open filesystem %q: %w", kind, err)
	}
	defer closeFd(fs)
	if source == "" {
		source = kind
	}
	if err := unix.FsconfigSetString(fs, "source", source); err != nil {
		return -1, fmt.Errorf("set source %q of %s: %w", source, kind, err)
	}
	for _, opt := range data {
		key, value, hasValue := strings.Cut(opt, "=")
		if hasValue {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, fmt.Errorf("set option %q of %s: %w", opt, kind, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attr))
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	return fd, nil
}

// hostCgroups returns the host's view of the cgroups, for a container in its
// cgroup namespace. Another instance there would reset the options of the host's.
func hostCgroups(o mountOptions) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/sys/fs/cgroup", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	kind, err := fsType(fd)
	if err == nil && kind != unix.CGROUP2_SUPER_MAGIC {
		err = fmt.Errorf("the host's /sys/fs/cgroup is not of version 2: %w", spec.ErrUnsupport)
	}
	if err == nil {
		err = setAttributes(fd, unix.AT_EMPTY_PATH, unix.MountAttr{Attr_set: o.set, Propagation: unix.MS_PRIVATE})
	}
	if err != nil {
		closeFd(fd)
		return -1, err
	}
	return fd, nil
}

func (m *mounter) hasNew(t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(m.config.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == t && n.Path == ""
	})
}

// target opens where the tree fd goes, and makes it if it is missing.
func (m *mounter) target(dest string, fd int) (int, error) {
	kind, _, err := fileType(fd)
	if err != nil {
		return -1, err
	}
	leaf := inroot.File
	if kind == unix.S_IFDIR {
		leaf = inroot.Dir
	}
	target, err := m.open(dest, leaf)
	if err != nil {
		return -1, err
	}
	if err := checkProc(dest, target, fd); err != nil {
		closeFd(target)
		return -1, err
	}
	return target, nil
}

// open opens dest, making what is missing. Where the kernel's own filesystems
// go, an image has to have directories or nothing: with a link there, what is
// meant for /dev, /proc or /sys would land elsewhere (CVE-2019-19921,
// CVE-2026-41579, CVE-2026-47766).
func (m *mounter) open(dest string, leaf inroot.Kind) (int, error) {
	dest = path.Clean("/" + dest)
	switch top, _, _ := strings.Cut(dest[1:], "/"); top {
	case "":
		return -1, fmt.Errorf("nothing can be mounted over the root: %w", spec.ErrInvalid)
	case "dev", "proc", "sys":
		fd, err := m.root.MakeReal(dest, leaf)
		if errors.Is(err, unix.ELOOP) {
			err = fmt.Errorf("%s leads through a symbolic link of the image: %w", dest, err)
		}
		return fd, err
	}
	return m.root.Make(dest, leaf)
}

// overProc are the files of procfs that may be replaced, as in runc.
var overProc = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
	"/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev",
	"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}

// checkProc refuses to hide procfs, or a part of it, behind something else:
// what is written there afterwards for the sake of security would go to a
// place of the image's choice (CVE-2019-16884).
func checkProc(dest string, target, fd int) error {
	dest = path.Clean("/" + dest)
	what, err := fsType(fd)
	if err != nil {
		return err
	}
	where, err := fsType(target)
	if err != nil {
		return err
	}
	switch {
	case dest == "/proc" && what == unix.PROC_SUPER_MAGIC:
		return nil
	case dest == "/proc", where == unix.PROC_SUPER_MAGIC && !slices.Contains(overProc, dest):
		return fmt.Errorf("nothing but procfs can be mounted there: %w", spec.ErrInvalid)
	}
	return nil
}

// finish makes read-only what had to be written to until now.
func (m *mounter) finish() error {
	for _, fd := range m.late {
		if err := setAttributes(fd, unix.AT_EMPTY_PATH, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return err
		}
	}
	if m.config.Root != nil && m.config.Root.Readonly {
		if err := setAttributes(m.root.Fd(), unix.AT_EMPTY_PATH, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make root filesystem read-only: %w", err)
		}
	}
	return m.propagateRoot()
}

// isolateMounts keeps what happens to the mounts of this namespace from the
// host's and the other way round. What was opened before is not affected: it
// is by the propagation of each bind mount.
func isolateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate mounts from the host's: %w", err)
	}
	return nil
}

// propagateRoot gives the container's root filesystem its own propagation. By
// default it is private.
func (m *mounter) propagateRoot() error {
	want := strings.TrimPrefix(m.config.Linux.RootfsPropagation, "r")
	if want == "" || want == "slave" || want == "private" {
		return nil // of a filesystem that the host does not have, slave is private
	}
	for _, p := range propagations {
		if want == p.name {
			return setAttributes(m.root.Fd(), unix.AT_EMPTY_PATH, unix.MountAttr{Propagation: p.flag})
		}
	}
	return fmt.Errorf("propagation %q of the root filesystem: %w", m.config.Linux.RootfsPropagation, spec.ErrInvalid)
}

// pivot makes the container's root the root of the namespace and takes the
// host's tree away.
func pivot(root inroot.Root) error {
	if err := unix.Fchdir(root.Fd()); err != nil {
		return fmt.Errorf("enter root filesystem: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	// The old root now lies over the new one and is still the working
	// directory. Its mounts are private, so the host keeps its own.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach old root: %w", err)
	}
	return os.Chdir("/")
}
