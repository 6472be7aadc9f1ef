package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCopyDepth bounds the depth of a copied tree, for each level of which two
// directories are open.
const maxCopyDepth = 512

// copyChunk is how much is copied between two looks at the context, in bytes.
const copyChunk = 16 << 20

type inode struct{ dev, ino uint64 }

// copier copies one tree.
type copier struct {
	root    int              // the top of the copy
	links   map[inode]string // files with several names, and the path of their copy below root
	hasData bool             // content was copied
}

// tree copies what is in the directory src into the new directory dst, which is
// rel below the root, and then src's own metadata.
func (c *copier) tree(ctx context.Context, src, dst int, rel string, depth int) error {
	if depth > maxCopyDepth {
		return fmt.Errorf("more than %d levels deep: %w", maxCopyDepth, unix.ELOOP)
	}
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	names, err := readNames(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.entry(ctx, src, dst, name, path.Join(rel, name), depth); err != nil {
			return err
		}
	}
	if err := copyMeta(src, dst, &st); err != nil {
		return fmt.Errorf("copy metadata of directory %q: %w", rel, err)
	}
	return nil
}

// readNames lists the directory fd, which stays open.
func readNames(fd int) ([]string, error) {
	again, err := openDirAt(fd, ".")
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again), ".")
	defer func() { _ = d.Close() }() // only read
	return d.Readdirnames(-1)
}

// entry copies name from the directory src to the directory dst.
func (c *copier) entry(ctx context.Context, src, dst int, name, rel string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", rel, err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	id := inode{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok && !isDir {
		if err := unix.Linkat(c.root, first, dst, name, 0); err != nil {
			return fmt.Errorf("link %q to %q: %w", rel, first, err)
		}
		return nil
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.dir(ctx, src, dst, name, rel, depth) // its errors name the path
	case unix.S_IFREG:
		err = c.file(ctx, src, dst, name)
	case unix.S_IFLNK:
		err = copySymlink(src, dst, name, &st)
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO:
		err = copySpecial(src, dst, name, &st)
	case unix.S_IFSOCK:
		return nil // nobody listens on the copy of a socket; dockerd skips it too
	}
	if err != nil {
		return fmt.Errorf("copy %q: %w", rel, err)
	}
	if st.Nlink > 1 {
		c.links[id] = rel
	}
	return nil
}

func (c *copier) dir(ctx context.Context, src, dst int, name, rel string, depth int) error {
	from, err := openDirAt(src, name)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", rel, err)
	}
	defer closeFd(from)
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return fmt.Errorf("make directory %q: %w", rel, err)
	}
	to, err := openDirAt(dst, name)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", rel, err)
	}
	defer closeFd(to)
	return c.tree(ctx, from, to, rel, depth+1)
}

func (c *copier) file(ctx context.Context, src, dst int, name string) error {
	from, err := openat2(src, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return err
	}
	defer closeFd(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("changed meanwhile: %w", unix.ESTALE)
	}
	to, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer closeFd(to) // Syncfs or nothing decides when it is on disk
	if st.Size > 0 {
		c.hasData = true
		if err := copyContent(ctx, from, to, st.Size); err != nil {
			return err
		}
	}
	return copyMeta(from, to, &st)
}

// copyContent shares the blocks of from with to where the filesystem can, else
// copies them inside the kernel, and keeps holes.
func copyContent(ctx context.Context, from, to int, size int64) error {
	if unix.IoctlFileClone(to, from) == nil {
		return nil
	}
	for pos := int64(0); pos < size; {
		start, err := unix.Seek(from, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return fmt.Errorf("seek data: %w", err)
		}
		end, err := unix.Seek(from, start, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek hole: %w", err)
		}
		if err := copyRange(ctx, from, to, start, end); err != nil {
			return err
		}
		pos = end
	}
	return unix.Ftruncate(to, size)
}

// copyRange copies the bytes from start to end.
func copyRange(ctx context.Context, from, to int, start, end int64) error {
	for start < end {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in, out := start, start
		n, err := unix.CopyFileRange(from, &in, to, &out, int(min(end-start, copyChunk)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			n, err = copyPlain(from, to, start, end)
		}
		if err != nil {
			return fmt.Errorf("copy content: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("copy content: file shrank: %w", io.ErrUnexpectedEOF)
		}
		start += int64(n)
	}
	return nil
}

// copyPlain copies some of the bytes from start to end with read and write, and
// returns how many.
func copyPlain(from, to int, start, end int64) (int, error) {
	buf := make([]byte, min(end-start, 1<<20))
	n, err := unix.Pread(from, buf, start)
	if err != nil {
		return 0, err
	}
	for done := 0; done < n; {
		w, err := unix.Pwrite(to, buf[done:n], start+int64(done))
		if err != nil {
			return 0, err
		}
		done += w
	}
	return n, nil
}

func copySymlink(src, dst int, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(src, name, buf)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buf[:n]), dst, name); err != nil {
		return err
	}
	return copyMetaAt(src, dst, name, st)
}

func copySpecial(src, dst int, name string, st *unix.Stat_t) error {
	if err := unix.Mknodat(dst, name, st.Mode&unix.S_IFMT, int(st.Rdev)); err != nil {
		return err
	}
	if err := copyMetaAt(src, dst, name, st); err != nil {
		return err
	}
	// Only cleat can reach the copy yet, so name is still what was just made.
	return unix.Fchmodat(dst, name, st.Mode&0o7777, 0)
}

// copyMeta gives the open file or directory dst the owner, mode and times of st
// and the extended attributes of src. The order matters: chown(2) clears setuid
// and file capabilities.
func copyMeta(src, dst int, st *unix.Stat_t) error {
	if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	if err := copyXattrs(procFd(src), procFd(dst), unix.Getxattr, unix.Listxattr, unix.Setxattr); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dst, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

// copyMetaAt is copyMeta for a name that is not opened, a symbolic link or a
// device, and leaves the mode out.
func copyMetaAt(src, dst int, name string, st *unix.Stat_t) error {
	if err := unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	from, to := procFd(src)+"/"+name, procFd(dst)+"/"+name
	if err := copyXattrs(from, to, unix.Lgetxattr, unix.Llistxattr, unix.Lsetxattr); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dst, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies extended attributes between two names, with the calls that
// follow links or those that do not.
func copyXattrs(from, to string, get func(string, string, []byte) (int, error),
	list func(string, []byte) (int, error), set func(string, string, []byte, int) error,
) error {
	names, err := readXattr(func(buf []byte) (int, error) { return list(from, buf) })
	if errors.Is(err, unix.ENOTSUP) || len(names) == 0 && err == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !KeepXattr(name) {
			continue
		}
		value, err := readXattr(func(buf []byte) (int, error) { return get(from, name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // overlayfs lists some that it hides
		}
		if err == nil {
			err = set(to, name, value, 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("copy extended attribute %q: %w", name, err)
		}
	}
	return nil
}

// readXattr calls read with a buffer that is large enough for its answer.
func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := read(buf)
		if err == nil {
			return buf[:n], nil
		}
		if !errors.Is(err, unix.ERANGE) || len(buf) > 64<<10 {
			return nil, err
		}
		buf = make([]byte, 4*len(buf))
	}
}
