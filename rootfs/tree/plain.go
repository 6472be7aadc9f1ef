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

	"github.com/cleat-project/cleat/rootfs"
	"golang.org/x/sys/unix"
)

// Plain notes, while a writable layer is packed, how what lies there differs from what
// unpacking the stream would make: then the directory itself can become the layer.
// The zero value is ready for one use with DiffOptions.
type Plain struct {
	remove   []string // what the stream leaves out
	whiteout []string // what it deletes without a mark of its own here
	strip    []string // what has attributes of overlayfs's own
	not      string   // why it cannot be made the same; "" if it can
	bytes    int64    // content of regular files; a hard link adds nothing
	linked   map[inode]bool
}

// Bytes returns how much content the files of the layer have.
func (p *Plain) Bytes() int64 { return p.bytes }

// count adds the content of a regular file.
func (p *Plain) count(st *unix.Statx_t) {
	if st.Nlink > 1 {
		id := inode{st.Dev_major, st.Dev_minor, st.Ino}
		if p.linked[id] {
			return
		}
		if p.linked == nil {
			p.linked = map[inode]bool{}
		}
		p.linked[id] = true
	}
	p.bytes += int64(st.Size)
}

// ErrNotPlain is wrapped by the error for a writable layer that has to be unpacked
// from its stream.
var ErrNotPlain = errors.New("writable layer is not in the form of an unpacked one")

func (p *Plain) refuse(why string) {
	if p != nil && p.not == "" {
		p.not = why
	}
}

// warning returns a function that hands on warnings, after which nothing is as it seems.
func (p *Plain) warning(warn func(string)) func(string) {
	if p == nil {
		return warn
	}
	return func(sentence string) {
		p.refuse("something was left out of the stream")
		if warn != nil {
			warn(sentence)
		}
	}
}

func (p *Plain) drop(name string) {
	if p != nil {
		p.remove = append(p.remove, name)
	}
}

func (p *Plain) deleted(name string) {
	if p != nil {
		p.whiteout = append(p.whiteout, name)
	}
}

// look notes what the file fd has that a stream does not hold.
func (p *Plain) look(fd int, st *unix.Statx_t, name string) error {
	if p == nil {
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		p.refuse("it has a device")
	case unix.S_IFSOCK:
		p.drop(name)
	case unix.S_IFREG:
		p.count(st)
	}
	names, err := xattrNames(fd)
	if err != nil {
		return err
	}
	for _, attr := range names {
		switch {
		case strings.HasPrefix(attr, "trusted.overlay."), strings.HasPrefix(attr, "user.overlay."):
			p.strip = append(p.strip, name)
		case strings.Contains(attr, "=") || !rootfs.KeepXattr(attr) && !strings.HasPrefix(attr, "security."):
			p.refuse("it has an attribute that no stream holds")
		}
	}
	return nil
}

// Settle makes the writable layer in dir, which nobody else uses any more, what
// unpacking the stream would have made of it. Times stay as they are, finer than the
// stream's seconds. What it refuses wraps ErrNotPlain, and nothing is changed then.
func (p *Plain) Settle(dir string) (err error) {
	if p.not != "" {
		return fmt.Errorf("%w: %s", ErrNotPlain, p.not)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	times := p.parentTimes(root)
	for _, name := range slices.Backward(p.remove) { // what is in a directory came before it
		if err := root.RemoveAll(name[1:]); err != nil {
			return fmt.Errorf("settle layer: %w", err)
		}
	}
	for _, name := range p.whiteout {
		if err := whiteout(root, name); err != nil {
			return fmt.Errorf("settle layer: %s: %w", name, err)
		}
	}
	for _, name := range append(slices.Compact(p.strip), "/") {
		if err := stripOverlay(root, name); err != nil {
			return fmt.Errorf("settle layer: %s: %w", name, err)
		}
	}
	for name, mtime := range times {
		if err := root.Chtimes(name, time.Time{}, mtime); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("settle layer: %w", err)
		}
	}
	return errors.Join(root.Chmod(".", 0o755), root.Chown(".", 0, 0)) // of the top, a stream says nothing
}

// parentTimes returns the times of directories that Settle changes.
func (p *Plain) parentTimes(root *os.Root) map[string]time.Time {
	times := map[string]time.Time{}
	for _, name := range slices.Concat(p.remove, p.whiteout) {
		dir := path.Dir(name)[1:]
		if dir == "" {
			continue
		}
		if fi, err := root.Lstat(dir); err == nil && fi.IsDir() {
			times[dir] = fi.ModTime()
		}
	}
	return times
}

// whiteout marks a name as deleted.
func whiteout(root *os.Root, name string) error {
	dir, err := root.Open(path.Join(".", path.Dir(name)))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only a way to the name
	return unix.Mknodat(int(dir.Fd()), path.Base(name), unix.S_IFCHR, 0)
}

// stripOverlay removes the attributes of overlayfs from a file, itself if it is a link.
func stripOverlay(root *os.Root, name string) error {
	dir, err := root.Open(path.Join(".", path.Dir(name)))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only a way to the name
	base := path.Base(name)
	if name == "/" {
		base = "."
	}
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), base)
	list, err := sized(func(buf []byte) (int, error) { return unix.Llistxattr(file, buf) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTSUP) {
		return nil // it was removed
	}
	if err != nil {
		return err
	}
	for _, attr := range strings.Split(string(list), "\x00") {
		if strings.HasPrefix(attr, "trusted.overlay.") || strings.HasPrefix(attr, "user.overlay.") {
			if err := unix.Lremovexattr(file, attr); err != nil && !errors.Is(err, unix.ENODATA) {
				return err
			}
		}
	}
	return nil
}
