// Package treetest describes directory trees as text, for tests that compare
// what was made with what should have been.
package treetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Options say what to describe beyond type, mode, owner, content and extended
// attributes.
type Options struct {
	Times  bool // the time of modification, in nanoseconds
	Inodes bool // the inode numbers, so that a replaced file shows
}

// List describes the tree below dir, dir itself as ".", one line for each name:
// type, mode, owner, path, and what the type has besides. A further name of the
// same inode is shown as the link it is.
func List(t testing.TB, dir string, opts Options) []string {
	t.Helper()
	l := lister{seen: map[[2]uint64]string{}, opts: opts}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return l.add(path, rel)
	})
	if err != nil {
		t.Fatalf("list %s: %v", dir, err)
	}
	return l.lines
}

type lister struct {
	lines []string
	seen  map[[2]uint64]string
	opts  Options
}

func (l *lister) add(path, rel string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	id := [2]uint64{st.Dev, st.Ino}
	if first, ok := l.seen[id]; ok {
		l.lines = append(l.lines, fmt.Sprintf("link %s to %s", rel, first))
		return nil
	}
	l.seen[id] = rel
	what, err := describe(path, &st)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%04o %d:%d %s", st.Mode&0o7777, st.Uid, st.Gid, rel)
	kind, rest, _ := strings.Cut(what, " ")
	line = strings.TrimSpace(kind + " " + line + " " + rest)
	if line, err = withXattrs(path, line); err != nil {
		return err
	}
	if l.opts.Times {
		line += fmt.Sprintf(" mtime=%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	if l.opts.Inodes {
		line += fmt.Sprintf(" ino=%d", st.Ino)
	}
	l.lines = append(l.lines, line)
	return nil
}

// describe names the type of the file, and what it holds.
func describe(path string, st *unix.Stat_t) (string, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "dir", nil
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if len(data) <= 20 {
			return fmt.Sprintf("file %q", data), nil
		}
		return fmt.Sprintf("file %d bytes %x", len(data), sha256.Sum256(data)), nil
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return fmt.Sprintf("symlink -> %s", target), err
	case unix.S_IFCHR:
		return fmt.Sprintf("char %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
	case unix.S_IFBLK:
		return fmt.Sprintf("block %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
	case unix.S_IFIFO:
		return "fifo", nil
	}
	return fmt.Sprintf("type-%o", st.Mode&unix.S_IFMT), nil
}

func withXattrs(path, line string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return line, nil
	}
	if err != nil {
		return "", fmt.Errorf("list attributes of %s: %w", path, err)
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(names)
	for _, name := range names {
		n, err := unix.Lgetxattr(path, name, buf)
		if err != nil {
			return "", fmt.Errorf("get attribute %s of %s: %w", name, path, err)
		}
		line += fmt.Sprintf(" %s=%q", name, buf[:n])
	}
	return line, nil
}
