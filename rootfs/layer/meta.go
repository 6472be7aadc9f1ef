package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cleat-project/cleat/rootfs"
	"golang.org/x/sys/unix"
)

// metadata is what an entry says of an inode, checked.
type metadata struct {
	uid, gid int
	mode     uint32 // permissions, setuid, setgid and sticky
	times    [2]unix.Timespec
	xattrs   []xattr
	dropped  int64 // attributes that the host decides on
}

type xattr struct {
	name  string
	value []byte
}

// xattrRecord is the prefix of extended attributes among the PAX records.
const xattrRecord = "SCHILY.xattr."

func metaOf(hdr *tar.Header) (*metadata, error) {
	for _, id := range []int{hdr.Uid, hdr.Gid} {
		// Larger ones wrap around somewhere on the way (CVE-2024-40635), and
		// -1 means "leave it" to chown(2).
		if id < 0 || id > math.MaxInt32 {
			return nil, fmt.Errorf("user or group id %d: %w", id, ErrInvalid)
		}
	}
	m := &metadata{uid: hdr.Uid, gid: hdr.Gid, mode: uint32(hdr.Mode) & 0o7777}
	mtime := timespec(hdr.ModTime)
	atime := mtime
	if !hdr.AccessTime.IsZero() {
		atime = timespec(hdr.AccessTime)
	}
	m.times = [2]unix.Timespec{atime, mtime}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		switch {
		case !ok:
		case name == "" || len(name) > maxPart || strings.ContainsRune(name, 0):
			return nil, fmt.Errorf("extended attribute %q: %w", shorten(name), ErrInvalid)
		case rootfs.KeepXattr(name):
			m.xattrs = append(m.xattrs, xattr{name, []byte(value)})
		default:
			m.dropped++
		}
	}
	return m, nil
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// setFd gives the open file or directory fd all of m. The order matters:
// chown(2) clears setuid and file capabilities.
func (u *unpacker) setFd(fd int, m *metadata) error {
	// As root what is new is root's, except below a directory with setgid.
	if m.uid != 0 || m.gid != 0 || u.parent.setgid {
		if err := unix.Fchown(fd, m.uid, m.gid); err != nil {
			return wrap("change owner", err)
		}
	}
	if err := unix.Fchmod(fd, m.mode); err != nil {
		return wrap("change mode", err)
	}
	err := u.setXattrs(m, func(x xattr) error { return unix.Fsetxattr(fd, x.name, x.value, 0) })
	if err != nil {
		return err
	}
	return wrap("set times", setTimes(fd, m.times))
}

// setDir gives the current parent all of m. The directory may be an older one.
func (u *unpacker) setDir(m *metadata) error {
	fd := u.parent.fd
	if err := unix.Fchown(fd, m.uid, m.gid); err != nil {
		return wrap("change owner", err)
	}
	if err := unix.Fchmod(fd, m.mode); err != nil {
		return wrap("change mode", err)
	}
	u.parent.setgid = m.mode&unix.S_ISGID != 0
	u.parent.times = m.times // set when it is left
	return u.setXattrs(m, func(x xattr) error { return unix.Fsetxattr(fd, x.name, x.value, 0) })
}

// setSpecial gives the new device node or pipe name all of m. Opening one has
// effects, so it is reached through a descriptor that only stands for it.
func (u *unpacker) setSpecial(name string, m *metadata) error {
	fd, err := unix.Openat(u.parent.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open special file", err)
	}
	defer closeFd(fd)
	if err := unix.Fchownat(fd, "", m.uid, m.gid, unix.AT_EMPTY_PATH); err != nil {
		return wrap("change owner", err)
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), m.mode); err != nil {
		return wrap("change mode", err)
	}
	return u.setXattrsTimes(name, m)
}

// setPath gives the new symbolic link name all of m but the mode, which links
// do not have.
func (u *unpacker) setPath(name string, m *metadata) error {
	if err := unix.Fchownat(u.parent.fd, name, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return wrap("change owner", err)
	}
	return u.setXattrsTimes(name, m)
}

// setXattrsTimes sets attributes and times of name itself, be it a link.
func (u *unpacker) setXattrsTimes(name string, m *metadata) error {
	if len(m.xattrs) > 0 || m.dropped > 0 {
		path := fmt.Sprintf("/proc/self/fd/%d/%s", u.parent.fd, name)
		err := u.setXattrs(m, func(x xattr) error { return unix.Lsetxattr(path, x.name, x.value, 0) })
		if err != nil {
			return err
		}
	}
	err := unix.UtimesNanoAt(u.parent.fd, name, m.times[:], unix.AT_SYMLINK_NOFOLLOW)
	return wrap("set times", err)
}

// setXattrs sets the attributes of m. Those that the filesystem does not have
// or the kind of file cannot have are left out and counted.
func (u *unpacker) setXattrs(m *metadata, set func(xattr) error) error {
	u.stats.DroppedXattrs += m.dropped
	for _, x := range m.xattrs {
		err := set(x)
		isUser := strings.HasPrefix(x.name, "user.")
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOTSUP), isUser && errors.Is(err, unix.EPERM):
			u.stats.DroppedXattrs++
		default:
			return fmt.Errorf("set extended attribute %q: %w", x.name, err)
		}
	}
	return nil
}

func setTimes(fd int, times [2]unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", times[:], unix.AT_EMPTY_PATH)
}
