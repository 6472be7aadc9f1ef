package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/spec"
)

// terminal is a pseudo terminal in a container's devpts.
type terminal struct{ master, slave int }

func (t terminal) close() {
	closeFd(t.master)
	closeFd(t.slave)
}

// openTerminal opens a new terminal. Dir is a directory at or above that of the
// devpts, and ptmx the way from there. The slave comes from the master itself
// and not from a path, which could be another one's by now (CVE-2025-52565).
func openTerminal(dir int, ptmx string, height, width uint16) (t terminal, err error) {
	t = terminal{-1, -1}
	defer func() {
		if err != nil {
			t.close()
			err = fmt.Errorf("open terminal: %w", err)
		}
	}()
	t.master, err = openBeneath(dir, ptmx, unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return t, err
	}
	if kind, err := fsType(t.master); err != nil || kind != unix.DEVPTS_SUPER_MAGIC {
		return t, errors.Join(err, fmt.Errorf("%s is not of a devpts: %w", ptmx, spec.ErrInvalid))
	}
	if err := unix.IoctlSetPointerInt(t.master, unix.TIOCSPTLCK, 0); err != nil {
		return t, fmt.Errorf("unlock: %w", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return t, fmt.Errorf("open slave: %w", errno)
	}
	t.slave = int(slave)
	if height == 0 && width == 0 {
		return t, nil
	}
	return t, unix.IoctlSetWinsize(t.master, unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
}

// become makes the slave the calling session's terminal and its stdio.
func (t terminal) become() error {
	if err := unix.IoctlSetInt(t.slave, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("take terminal: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(t.slave, fd, 0); err != nil {
			return fmt.Errorf("put terminal in the place of descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// console binds the slave of t at /dev/console.
func (m *mounter) console(t terminal) error {
	fd, err := unix.OpenTree(t.slave, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("bind console: %w", err)
	}
	defer closeFd(fd)
	target, err := m.open("/dev/console", inroot.File)
	if err != nil {
		return err
	}
	defer closeFd(target)
	if err := attach(fd, target); err != nil {
		return fmt.Errorf("bind console: %w", err)
	}
	return nil
}

// openBeneath opens a path in dir without leaving that directory. Resolve has
// further rules of openat2(2).
func openBeneath(dir int, name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	for range 128 { // EAGAIN: a rename elsewhere coincided
		fd, err := unix.Openat2(dir, name, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}
