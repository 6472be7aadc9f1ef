package layer

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"golang.org/x/sys/unix"
)

// openDir is a directory of the layer that entries are being made in.
type openDir struct {
	fd     int    // -1 if there is none
	path   string // as the tar writes it, clean
	setgid bool   // new files inherit its group

	// times are the ones to set when the directory is left: making entries
	// changes them. So no list of all directories has to be kept to the end.
	times [2]unix.Timespec
}

// resolve opens the directory p of the layer.
//
// A parent that is a symbolic link made by this same layer ("lib" to "usr/lib")
// is followed, as dockerd does, with the layer's directory as the root: an
// absolute target and ".." stay within it.
func (u *unpacker) resolve(p string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := sys.Openat2(u.root, p, &how)
	if errors.Is(err, unix.ELOOP) {
		how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
		fd, err = sys.Openat2(u.root, p, &how)
	}
	return fd, err
}

// enter makes p the current parent, creating it if need be.
func (u *unpacker) enter(p string) error {
	if u.parent.fd >= 0 && u.parent.path == p {
		return nil
	}
	if err := u.leave(); err != nil {
		return err
	}
	fd, err := u.openOrMake(p)
	if err != nil {
		return err
	}
	return u.adopt(fd, p)
}

// adopt makes the open directory fd the current parent, and closes it if that
// fails.
func (u *unpacker) adopt(fd int, p string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFd(fd)
		return fmt.Errorf("stat directory %q: %w", shorten(p), err)
	}
	u.parent = openDir{fd: fd, path: p, setgid: st.Mode&unix.S_ISGID != 0, times: [2]unix.Timespec{st.Atim, st.Mtim}}
	return nil
}

// leave gives the current parent its times back and closes it.
func (u *unpacker) leave() error {
	if u.parent.fd < 0 {
		return nil
	}
	err := setTimes(u.parent.fd, u.parent.times)
	closeFd(u.parent.fd)
	u.parent.fd = -1
	if err != nil {
		return fmt.Errorf("set times of directory %q: %w", shorten(u.parent.path), err)
	}
	return nil
}

// openOrMake opens the directory p, which the tar may not have named.
func (u *unpacker) openOrMake(p string) (int, error) {
	fd, err := u.resolve(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		fd, err = u.makeParents(p)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("parent %q is not a directory: %w: %w", shorten(p), ErrInvalid, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open parent %q: %w", shorten(p), err)
	}
	return fd, nil
}

// makeParents makes what is missing of the directory p and opens it.
func (u *unpacker) makeParents(p string) (int, error) {
	parts := strings.Split(p, "/")
	missing := sort.Search(len(parts), func(i int) bool {
		fd, err := u.resolve(path.Join(parts[:i+1]...))
		if err == nil {
			closeFd(fd)
		}
		return err != nil
	})
	fd, err := u.resolve(path.Join(".", path.Join(parts[:missing]...)))
	for _, part := range parts[missing:] {
		if err != nil {
			return -1, err
		}
		above := fd
		fd, err = makeParent(above, part)
		closeFd(above)
	}
	return fd, err
}

// makeParent makes the directory name in the directory above, whose times are
// kept, and opens it.
func makeParent(above int, name string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(above, &st); err != nil {
		return -1, err
	}
	if err := makeDirAt(above, name); err != nil {
		return -1, err
	}
	if err := setTimes(above, [2]unix.Timespec{st.Atim, st.Mtim}); err != nil {
		return -1, err
	}
	return openNewDir(above, name)
}

// makeDirAt makes the directory name in dirfd, root's and 0755, or leaves the
// directory that is there. A whiteout of that name becomes its opaqueness; any
// other file is an error.
func makeDirAt(dirfd int, name string) error {
	err := unix.Mkdirat(dirfd, name, 0o755)
	hides := false
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if !isWhiteout(&st) {
			return nil // opening it tells whether it is a directory
		}
		hides = true
		if err := unix.Unlinkat(dirfd, name, 0); err != nil {
			return err
		}
		err = unix.Mkdirat(dirfd, name, 0o755)
	}
	if err != nil {
		return err
	}
	fd, err := openNewDir(dirfd, name)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	if hides {
		if err := setOpaque(fd); err != nil {
			return err
		}
	}
	// A directory in one with setgid inherits group and bit.
	if err := unix.Fchown(fd, 0, 0); err != nil {
		return err
	}
	return unix.Fchmod(fd, 0o755)
}

// openNewDir opens a directory by the last element of its path.
func openNewDir(dirfd int, name string) (int, error) {
	return sys.Openat2(dirfd, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// setOpaque marks the directory fd: nothing of the lower layers shows in it.
func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, "trusted.overlay.opaque", []byte{'y'}, 0); err != nil {
		return fmt.Errorf("mark directory as opaque: %w", err)
	}
	return nil
}
