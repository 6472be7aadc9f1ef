package layer

import (
	"archive/tar"
	"fmt"

	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
	"golang.org/x/sys/unix"
)

// metadata is what an entry says of an inode, checked.
type metadata = tarmeta.Meta

func metaOf(hdr *tar.Header) (*metadata, error) {
	m, err := tarmeta.Of(hdr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return m, nil
}

// setFd gives the open file or directory fd all of m. The order matters:
// chown(2) clears setuid and file capabilities.
func (u *unpacker) setFd(fd int, m *metadata) error {
	// As root what is new is root's, except below a directory with setgid.
	if m.UID != 0 || m.GID != 0 || u.parent.setgid {
		if err := unix.Fchown(fd, m.UID, m.GID); err != nil {
			return wrap("change owner", err)
		}
	}
	if err := unix.Fchmod(fd, m.Mode); err != nil {
		return wrap("change mode", err)
	}
	err := u.setXattrs(m, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
	if err != nil {
		return err
	}
	return wrap("set times", setTimes(fd, m.Times))
}

// setDir gives the current parent all of m. The directory may be an older one.
func (u *unpacker) setDir(m *metadata) error {
	fd := u.parent.fd
	if err := unix.Fchown(fd, m.UID, m.GID); err != nil {
		return wrap("change owner", err)
	}
	if err := unix.Fchmod(fd, m.Mode); err != nil {
		return wrap("change mode", err)
	}
	u.parent.setgid = m.Mode&unix.S_ISGID != 0
	u.parent.times = m.Times // set when it is left
	return u.setXattrs(m, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
}

// setSpecial gives the new device node or pipe name all of m. Opening one has
// effects, so it is reached through a descriptor that only stands for it.
func (u *unpacker) setSpecial(name string, m *metadata) error {
	fd, err := unix.Openat(u.parent.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open special file", err)
	}
	defer closeFd(fd)
	if err := unix.Fchownat(fd, "", m.UID, m.GID, unix.AT_EMPTY_PATH); err != nil {
		return wrap("change owner", err)
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), m.Mode); err != nil {
		return wrap("change mode", err)
	}
	return u.setXattrsTimes(name, m)
}

// setPath gives the new symbolic link name all of m but the mode, which links
// do not have.
func (u *unpacker) setPath(name string, m *metadata) error {
	if err := unix.Fchownat(u.parent.fd, name, m.UID, m.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return wrap("change owner", err)
	}
	return u.setXattrsTimes(name, m)
}

// setXattrsTimes sets attributes and times of name itself, be it a link.
func (u *unpacker) setXattrsTimes(name string, m *metadata) error {
	if len(m.Xattrs) > 0 || m.Dropped > 0 {
		path := fmt.Sprintf("/proc/self/fd/%d/%s", u.parent.fd, name)
		err := u.setXattrs(m, func(name string, value []byte) error { return unix.Lsetxattr(path, name, value, 0) })
		if err != nil {
			return err
		}
	}
	err := unix.UtimesNanoAt(u.parent.fd, name, m.Times[:], unix.AT_SYMLINK_NOFOLLOW)
	return wrap("set times", err)
}

// setXattrs sets the attributes of m and counts those that cannot be had.
func (u *unpacker) setXattrs(m *metadata, set func(name string, value []byte) error) error {
	dropped, err := m.SetXattrs(set)
	u.stats.DroppedXattrs += dropped
	return err
}

func setTimes(fd int, times [2]unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", times[:], unix.AT_EMPTY_PATH)
}
