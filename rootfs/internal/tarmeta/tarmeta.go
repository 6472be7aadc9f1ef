// Package tarmeta checks what the header of a tar entry says: names and the
// metadata of inodes, from streams made by strangers. Its errors say what is
// wrong with the entry and nothing about whose stream it is.
package tarmeta

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/cleat-project/cleat/rootfs"
	"golang.org/x/sys/unix"
)

// The limits of names. The kernel's are 4096 and 255 bytes; no image comes near
// to MaxDepth, and each level costs a lookup for every entry below it.
const (
	MaxName  = 4095
	MaxPart  = 255
	MaxDepth = 512
)

// XattrRecord is the prefix of extended attributes among the PAX records.
const XattrRecord = "SCHILY.xattr."

// Meta is what an entry says of an inode, checked.
type Meta struct {
	UID, GID int
	Mode     uint32           // permissions, setuid, setgid and sticky
	Times    [2]unix.Timespec // of access and modification
	Xattrs   []Xattr
	Dropped  int64 // attributes that the host decides on, see rootfs.KeepXattr
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Of returns the metadata of an entry.
func Of(hdr *tar.Header) (*Meta, error) {
	for _, id := range []int{hdr.Uid, hdr.Gid} {
		// Larger ones wrap around somewhere on the way (CVE-2024-40635), and
		// -1 means "leave it" to chown(2).
		if id < 0 || id > math.MaxInt32 {
			return nil, fmt.Errorf("user or group id %d", id)
		}
	}
	m := &Meta{UID: hdr.Uid, GID: hdr.Gid, Mode: uint32(hdr.Mode) & 0o7777}
	mtime := timespec(hdr.ModTime)
	atime := mtime
	if !hdr.AccessTime.IsZero() {
		atime = timespec(hdr.AccessTime)
	}
	m.Times = [2]unix.Timespec{atime, mtime}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, XattrRecord)
		switch {
		case !ok:
		case name == "" || len(name) > MaxPart || strings.ContainsRune(name, 0):
			return nil, fmt.Errorf("extended attribute %q", Shorten(name))
		case rootfs.KeepXattr(name):
			m.Xattrs = append(m.Xattrs, Xattr{name, []byte(value)})
		default:
			m.Dropped++
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

// SetXattrs sets the attributes of m with the given call. Those that the
// filesystem does not have or the kind of file cannot have are left out; dropped
// is their number and that of those the host decides on.
func (m *Meta) SetXattrs(set func(name string, value []byte) error) (dropped int64, err error) {
	dropped = m.Dropped
	for _, x := range m.Xattrs {
		err := set(x.Name, x.Value)
		isUser := strings.HasPrefix(x.Name, "user.")
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOTSUP), isUser && errors.Is(err, unix.EPERM):
			dropped++
		default:
			return dropped, fmt.Errorf("set extended attribute %q: %w", x.Name, err)
		}
	}
	return dropped, nil
}

// CleanName makes the name of an entry, or the target of a hard link, relative
// to the directory that is unpacked into: "." is that directory itself. An
// absolute name is taken from there, as by dockerd, and one that leads above it
// is refused.
func CleanName(name string) (string, error) {
	if name == "" {
		return "", errors.New("empty name")
	}
	if len(name) > MaxName {
		return "", fmt.Errorf("name of %d bytes", len(name))
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("NUL in name")
	}
	clean := strings.TrimLeft(path.Clean(name), "/")
	if clean == "" {
		return ".", nil
	}
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("name leads out of the directory")
	}
	depth := 0
	for part := range strings.SplitSeq(clean, "/") {
		if depth++; depth > MaxDepth {
			return "", fmt.Errorf("more than %d levels deep", MaxDepth)
		}
		if len(part) > MaxPart {
			return "", fmt.Errorf("part of %d bytes in name", len(part))
		}
	}
	return clean, nil
}

// Device returns the number of the device node that hdr describes.
func Device(hdr *tar.Header) (uint64, error) {
	if hdr.Devmajor < 0 || hdr.Devmajor > 0xfff || hdr.Devminor < 0 || hdr.Devminor > 0xfffff {
		return 0, fmt.Errorf("device %d:%d", hdr.Devmajor, hdr.Devminor)
	}
	return unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor)), nil
}

// Shorten keeps a hostile name from filling the screen.
func Shorten(name string) string {
	if len(name) <= 300 {
		return name
	}
	return name[:300] + "…"
}
