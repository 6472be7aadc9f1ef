package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
	"golang.org/x/sys/unix"
)

// entry makes one entry of the tar. Content is what follows the header.
func (u *unpacker) entry(ctx context.Context, hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // "git archive" puts a comment there
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	k, dir, base, err := classify(name)
	if err != nil {
		return err
	}
	if k == meta {
		return nil
	}
	m, err := metaOf(hdr)
	if err != nil {
		return err
	}
	if name == "." {
		return u.rootDir(hdr, m)
	}
	if err := u.enter(dir); err != nil {
		return err
	}
	switch k {
	case whiteout:
		return u.whiteout(base)
	case opaque:
		return setOpaque(u.parent.fd)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(ctx, base, hdr, m, content)
	case tar.TypeDir:
		return u.dir(name, base, m)
	case tar.TypeSymlink:
		return u.symlink(base, hdr.Linkname, m)
	case tar.TypeLink:
		return u.hardLink(name, base, hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.special(base, hdr, m)
	}
	return fmt.Errorf("type %q: %w", hdr.Typeflag, ErrInvalid)
}

// rootDir gives the layer's own directory what its entry says.
func (u *unpacker) rootDir(hdr *tar.Header, m *metadata) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("the layer's directory as type %q: %w", hdr.Typeflag, ErrInvalid)
	}
	if err := u.enter("."); err != nil {
		return err
	}
	return u.setDir(m)
}

// replace runs create, which creates name in the current parent, and if the name
// is taken removes what is there and runs it again: the later entry wins.
func (u *unpacker) replace(name string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := rootfs.RemoveAt(u.parent.fd, name); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return create()
}

// whiteout hides name of the lower layers. If this layer has the name as well,
// its own file hides them already and its own directory is made to.
func (u *unpacker) whiteout(name string) error {
	err := unix.Mknodat(u.parent.fd, name, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return wrap("make whiteout", err)
	}
	fd, err := openNewDir(u.parent.fd, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return wrap("open directory", err)
	}
	defer closeFd(fd)
	return setOpaque(fd)
}

func (u *unpacker) file(ctx context.Context, name string, hdr *tar.Header, m *metadata, content io.Reader) error {
	fd := -1
	err := u.replace(name, func() (err error) {
		fd, err = unix.Openat(u.parent.fd, name,
			unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, m.Mode&0o777)
		return err
	})
	if err != nil {
		return wrap("create file", err)
	}
	defer closeFd(fd)
	if err := u.write(ctx, fd, hdr, content); err != nil {
		return err
	}
	return u.setFd(fd, m)
}

// dir makes a directory, or keeps the one that is there, and makes it the
// current parent: what it contains most likely comes next.
func (u *unpacker) dir(name, base string, m *metadata) error {
	hides := false
	err := unix.Mkdirat(u.parent.fd, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		hides, err = u.makeWay(base)
	}
	if err != nil {
		return wrap("make directory", err)
	}
	fd, err := openNewDir(u.parent.fd, base)
	if err != nil {
		return wrap("open directory", err)
	}
	if err := u.leave(); err != nil {
		closeFd(fd)
		return err
	}
	if err := u.adopt(fd, name); err != nil {
		return err
	}
	if hides {
		if err := setOpaque(fd); err != nil {
			return err
		}
	}
	return u.setDir(m)
}

// makeWay puts a directory in the place of what is at name, and reports whether
// that was a whiteout.
func (u *unpacker) makeWay(name string) (wasWhiteout bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(u.parent.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, nil
	}
	if err := unix.Unlinkat(u.parent.fd, name, 0); err != nil {
		return false, err
	}
	return isWhiteout(&st), unix.Mkdirat(u.parent.fd, name, 0o700)
}

func (u *unpacker) symlink(name, target string, m *metadata) error {
	err := u.replace(name, func() error { return unix.Symlinkat(target, u.parent.fd, name) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
		return fmt.Errorf("symbolic link to %q: %w: %w", shorten(target), ErrInvalid, err)
	}
	if err != nil {
		return wrap("make symbolic link", err)
	}
	return u.setPath(name, m)
}

// hardLink links name to target, which must be in this same layer. The inode
// keeps its owner, mode and attributes: a link entry has none of its own.
func (u *unpacker) hardLink(full, name, target string) error {
	clean, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", shorten(target), err)
	}
	k, dir, base, err := classify(clean)
	if err == nil && (k != plain || clean == "." || clean == full) {
		err = fmt.Errorf("no file to link to: %w", ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", shorten(target), err)
	}
	from, err := u.resolve(dir)
	if err == nil {
		defer closeFd(from)
		err = u.replace(name, func() error { return unix.Linkat(from, base, u.parent.fd, name, 0) })
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EPERM):
		// EPERM: a directory. A file of a lower layer is not found either; the
		// specification wants it to be in the layer again, and so does dockerd.
		return fmt.Errorf("hard link to %q, which is no file of this layer: %w: %w", shorten(target), ErrInvalid, err)
	}
	return fmt.Errorf("hard link to %q: %w", shorten(target), err)
}

// special makes a device node or a named pipe.
func (u *unpacker) special(name string, hdr *tar.Header, m *metadata) error {
	mode, dev := uint32(unix.S_IFIFO), uint64(0)
	if hdr.Typeflag != tar.TypeFifo {
		var err error
		if dev, err = tarmeta.Device(hdr); err != nil {
			return fmt.Errorf("%w: %w", err, ErrInvalid)
		}
		mode = unix.S_IFBLK
		if hdr.Typeflag == tar.TypeChar {
			mode = unix.S_IFCHR
		}
	}
	err := u.replace(name, func() error { return unix.Mknodat(u.parent.fd, name, mode, int(dev)) })
	if err != nil {
		return wrap("make special file", err)
	}
	return u.setSpecial(name, m)
}

// wrap says what was done, if it went wrong.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
