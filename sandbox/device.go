package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/spec"
)

// defaultDevices are in every container, as the runtime specification demands.
var defaultDevices = [...]specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

var devLinks = [...]struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"core", "/proc/kcore"},
	{"ptmx", "pts/ptmx"},
}

// makeDevices fills the container's own /dev. If /dev is something of the host
// it is left alone.
func (m *mounter) makeDevices() error {
	if m.dev < 0 {
		return nil
	}
	for _, list := range [][]specs.LinuxDevice{defaultDevices[:], m.config.Linux.Devices} {
		for _, d := range list {
			if err := m.makeDevice(d); err != nil {
				return fmt.Errorf("make device %s: %w", d.Path, err)
			}
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, m.dev, l.name); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make link /dev/%s: %w", l.name, err)
		}
	}
	return nil
}

func (m *mounter) makeDevice(d specs.LinuxDevice) error {
	mode, err := deviceMode(d)
	if err != nil {
		return err
	}
	dir, err := m.open(path.Dir(d.Path), inroot.Dir)
	if err != nil {
		return err
	}
	defer closeFd(dir)
	name, dev := path.Base(d.Path), unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	err = unix.Mknodat(dir, name, mode, int(dev))
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil // a default that is listed again, or a bind mount that the user prefers
	case errors.Is(err, unix.EPERM):
		return m.bindDevice(d, mode, dev)
	case err != nil:
		return err
	}
	if d.UID == nil && d.GID == nil {
		return nil
	}
	return unix.Fchownat(dir, name, idOr0(d.UID), idOr0(d.GID), unix.AT_SYMLINK_NOFOLLOW)
}

func idOr0(id *uint32) int {
	if id == nil {
		return 0
	}
	return int(*id)
}

// deviceMode returns the mode for mknod(2).
func deviceMode(d specs.LinuxDevice) (uint32, error) {
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	switch d.Type {
	case "c", "u":
		return mode | unix.S_IFCHR, nil
	case "b":
		return mode | unix.S_IFBLK, nil
	case "p":
		return mode | unix.S_IFIFO, nil
	}
	return 0, fmt.Errorf("device type %q: %w", d.Type, spec.ErrInvalid)
}

// bindDevice binds the host's node of a device where none can be made, as in a
// container that runs cleat.
func (m *mounter) bindDevice(d specs.LinuxDevice, mode uint32, dev uint64) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, d.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	kind, rdev, err := fileType(fd)
	if err != nil {
		return err
	}
	if kind != mode&unix.S_IFMT || rdev != dev {
		return fmt.Errorf("the host's node is another device: %w", os.ErrPermission)
	}
	target, err := m.open(d.Path, inroot.File)
	if err != nil {
		return err
	}
	defer closeFd(target)
	return attach(fd, target)
}

// bindInit puts the init program at its place in the container, read-only.
func (m *mounter) bindInit(program string) error {
	fd, err := readOnlyMount(program)
	if err != nil {
		return fmt.Errorf("bind init %s: %w", program, err)
	}
	defer closeFd(fd)
	target, err := m.open(initPath, inroot.File)
	if err != nil {
		return err
	}
	defer closeFd(target)
	if err := attach(fd, target); err != nil {
		return fmt.Errorf("bind init: %w", err)
	}
	return nil
}

// initPath is where a container's init is, as in Docker.
const initPath = "/sbin/docker-init"
