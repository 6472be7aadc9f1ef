// Package tree moves trees of files: it packs them into tar streams, unpacks
// such streams into trees that exist already, and tells how the writable layer
// of a container differs from its image.
//
// A tree may be that of a running container which swaps directories for symbolic
// links at any moment. So everything goes from descriptor to descriptor with
// openat2(2): no call leaves the root that the caller gives, no symbolic link is
// followed on the way that the caller did not name, and nothing but a regular
// file is ever opened for reading. No program and no library of the tree is
// used.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"golang.org/x/sys/unix"
)

// maxDepth bounds the depth of a tree, for each level of which two descriptors
// are open.
const maxDepth = 512

// maxLinks is how many symbolic links one path may lead through, as in the
// kernel.
const maxLinks = 40

// PathStat describes a path of a container. Its JSON form is Docker's.
type PathStat struct {
	Name       string      `json:"name"` // last element of the path as it was asked for; "/" and "." stay
	Size       int64       `json:"size"` // bytes
	Mode       fs.FileMode `json:"mode"` // of the path itself: a link is not followed
	Mtime      time.Time   `json:"mtime"`
	LinkTarget string      `json:"linkTarget"` // of a link, where it leads to in the end, as an absolute path in the container; else ""
}

// Clean makes name an absolute path without "..", as Docker does, and keeps the
// "/" or "/." at its end, which say that a directory is meant.
func Clean(name string) string {
	clean := path.Clean("/" + name)
	if path.Base(clean) != "." && path.Base(name) == "." {
		clean = strings.TrimSuffix(clean, "/") + "/."
	}
	if strings.HasSuffix(name, "/") && !strings.HasSuffix(clean, "/") {
		clean += "/"
	}
	return clean
}

// Open opens name, which Clean has returned, beneath root with the flags of
// open(2). A symbolic link at its end is followed if flags lack O_NOFOLLOW or
// name ends with "/". The error is a system call's, without the name.
func Open(root int, name string, flags int) (int, error) {
	return sys.Openat2(root, name, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// openChild opens the entry name of directory dir, itself if it is a link.
func openChild(dir int, name string) (int, error) {
	return sys.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// openDirAt opens the directory name beneath dir. On the way there and at its
// end a symbolic link is ELOOP: O_NOFOLLOW would make it ENOTDIR at the end.
func openDirAt(dir int, name string) (int, error) {
	return sys.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// Stat describes the file fd, which name has led to beneath root.
func Stat(root, fd int, name string) (PathStat, error) {
	st, err := statx(fd)
	if err != nil {
		return PathStat{}, err
	}
	s := PathStat{Name: path.Base(name), Size: int64(st.Size), Mode: fileMode(st.Mode), Mtime: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec))}
	if isType(st, unix.S_IFLNK) {
		s.LinkTarget, err = Follow(root, name)
	}
	return s, err
}

// fileMode is the mode of stat(2) in Go's form, as os.FileInfo has it.
func fileMode(mode uint16) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint16]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	return m
}

// Follow returns where name leads to beneath root once all symbolic links are
// followed, as a clean path. What does not exist is kept as it is written. The
// answer may be outdated at once: whoever opens it does that beneath root again.
func Follow(root int, name string) (string, error) {
	todo := strings.Split(name, "/")
	at, links := "/", 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		next := path.Join(at, part) // ".." of "/" is "/"
		target, err := readlink(root, next)
		if err != nil {
			return "", err
		}
		if target == "" {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: %w", name, unix.ELOOP)
		}
		if path.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at, nil
}

// readlink returns the target of the symbolic link name, "" if it is none.
func readlink(root int, name string) (string, error) {
	fd, err := Open(root, name, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	defer sys.Close(fd)
	st, err := statx(fd)
	if err != nil || !isType(st, unix.S_IFLNK) {
		return "", err
	}
	return readLink(fd)
}

// readLink returns the target of the open symbolic link fd.
func readLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), nil
}

// statx returns what is known of an open file, its mount included.
func statx(fd int) (*unix.Statx_t, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	return &st, nil
}

func isType(st *unix.Statx_t, kind uint16) bool { return st.Mode&unix.S_IFMT == kind }

// MountOf returns the id of the mount that the open file fd is on.
func MountOf(fd int) (uint64, error) {
	st, err := statx(fd)
	if err != nil {
		return 0, err
	}
	return st.Mnt_id, nil
}

// readNames lists the open directory fd, sorted. A descriptor that only stands
// for the directory will do.
func readNames(fd int) ([]string, error) {
	again, err := openDirAt(fd, ".")
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	d := os.NewFile(uintptr(again), ".")
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) { // removed meanwhile
		return nil, fmt.Errorf("read directory: %w", err)
	}
	slices.Sort(names)
	return names, nil
}
