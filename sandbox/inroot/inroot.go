// Package inroot opens and makes paths beneath a directory that somebody
// hostile may be changing at the same moment: the root of a container whose
// image, volumes or neighbours put symbolic links wherever they like. No call
// leaves the root, whatever the links say and whenever they change; an absolute
// link is taken from the root on, as chroot(2) would. The links of procfs that
// lead anywhere (/proc/self/fd/N) are refused.
package inroot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxRetries bounds the retries of openat2(2), which answers EAGAIN when a
	// rename anywhere on the machine coincides with the resolution of "..".
	maxRetries = 128

	// maxLinks is how many symbolic links one path may lead through, as in
	// the kernel.
	maxLinks = 40
)

// Root is a directory that paths do not leave.
type Root struct{ fd int }

// Open returns the directory at path, which the caller trusts, as a Root.
func Open(path string) (Root, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return Root{-1}, fmt.Errorf("open root %s: %w", path, err)
	}
	return Root{fd}, nil
}

// At returns the directory fd, which becomes the Root's, as a Root.
func At(fd int) Root { return Root{fd} }

// Fd returns the descriptor (O_PATH) of the directory. It stays the Root's.
func (r Root) Fd() int { return r.fd }

// Close closes the directory.
func (r Root) Close() { _ = unix.Close(r.fd) } // O_PATH: nothing to lose

// Open opens the existing path beneath the root with the flags of open(2). The
// caller closes the descriptor, which is O_CLOEXEC.
func (r Root) Open(path string, flags int) (int, error) {
	fd, err := r.open(path, flags, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// OpenReal is Open for a path none of whose elements may be a symbolic link:
// one is ELOOP.
func (r Root) OpenReal(path string, flags int) (int, error) {
	fd, err := r.open(path, flags, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func (r Root) open(path string, flags int, resolve uint64) (int, error) {
	return openat2(r.fd, path, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	})
}

func openat2(dir int, path string, how *unix.OpenHow) (int, error) {
	return retry(func() (int, error) { return unix.Openat2(dir, path, how) })
}

// retry repeats a system call that the kernel asks to be repeated.
func retry(call func() (int, error)) (fd int, err error) {
	for range maxRetries {
		fd, err = call()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return fd, err
}

// ReadFile returns the content of the regular file at path. Anything else at
// path, such as a FIFO that would block for ever, and a file of more than limit
// bytes, is an error. A missing file wraps fs.ErrNotExist.
func (r Root) ReadFile(path string, limit int64) ([]byte, error) {
	fd, err := r.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read %s: not a regular file: %w", path, unix.EINVAL)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes: %w", path, limit, unix.EFBIG)
	}
	return data, nil
}

// Kind is what Make makes at the end of a path.
type Kind int

// The kinds of leaf.
const (
	Dir  Kind = iota // a directory of mode 0755
	File             // an empty regular file of mode 0644
)

// Make opens path beneath the root with O_PATH, and makes what is missing of
// it: directories, and at its end what kind says. What exists already is
// returned as it is, of whatever type. The umask must be clear. The caller
// closes the descriptor.
func (r Root) Make(path string, kind Kind) (int, error) { return r.make(path, kind, false) }

// MakeReal is Make for a path none of whose elements may be a symbolic link:
// one is ELOOP.
func (r Root) MakeReal(path string, kind Kind) (int, error) { return r.make(path, kind, true) }

func (r Root) make(path string, kind Kind, real bool) (int, error) {
	var resolve uint64
	if real {
		resolve = unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := r.open(path, unix.O_PATH, resolve)
	if errors.Is(err, unix.ENOENT) {
		fd, err = r.walk(path, kind, real)
	}
	if err != nil {
		return -1, &os.PathError{Op: "make", Path: path, Err: err}
	}
	return fd, nil
}

// walk goes along path one element at a time, from descriptor to descriptor, so
// that what it makes lands in the directory that it has looked at.
func (r Root) walk(path string, kind Kind, real bool) (int, error) {
	w := walker{todo: elements(path), kind: kind, real: real}
	top, err := dup(r.fd)
	if err != nil {
		return -1, err
	}
	w.dirs = append(w.dirs, top)
	defer func() {
		for _, fd := range w.dirs {
			_ = unix.Close(fd) // O_PATH
		}
	}()
	for len(w.todo) > 0 {
		if err := w.step(); err != nil {
			return -1, err
		}
	}
	return dup(w.here())
}

type walker struct {
	todo  []string // elements that are left
	dirs  []int    // from the root to where the walk is
	links int
	kind  Kind
	real  bool
}

func (w *walker) here() int { return w.dirs[len(w.dirs)-1] }

// step takes one element of the path.
func (w *walker) step() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	if name == ".." {
		// Not the ".." of the filesystem: the directory may have been moved.
		if last := len(w.dirs) - 1; last > 0 {
			_ = unix.Close(w.dirs[last])
			w.dirs = w.dirs[:last]
		}
		return nil
	}
	fd, err := w.child(name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		defer func() { _ = unix.Close(fd) }()
		return w.follow(fd)
	case unix.S_IFDIR:
	default:
		if len(w.todo) > 0 {
			_ = unix.Close(fd)
			return unix.ENOTDIR
		}
	}
	w.dirs = append(w.dirs, fd)
	return nil
}

// child opens the entry name of the current directory, making it if need be.
func (w *walker) child(name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range maxRetries {
		fd, err := openat2(w.here(), name, &how)
		if !errors.Is(err, unix.ENOENT) {
			return fd, err
		}
		if len(w.todo) == 0 && w.kind == File {
			err = unix.Mknodat(w.here(), name, unix.S_IFREG|0o644, 0)
		} else {
			err = unix.Mkdirat(w.here(), name, 0o755)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, err
		}
	}
	return -1, unix.EAGAIN // somebody removes it as fast as it is made
}

// follow puts the target of the symbolic link fd in front of what is left.
func (w *walker) follow(fd int) error {
	w.links++
	if w.real || w.links > maxLinks {
		return unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if strings.HasPrefix(target, "/") {
		for _, dir := range w.dirs[1:] {
			_ = unix.Close(dir)
		}
		w.dirs = w.dirs[:1]
	}
	w.todo = append(elements(target), w.todo...)
	return nil
}

// elements splits path, leaving out what means "here".
func elements(path string) []string {
	parts := strings.Split(path, "/")
	kept := parts[:0]
	for _, p := range parts {
		if p != "" && p != "." {
			kept = append(kept, p)
		}
	}
	return kept
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }
