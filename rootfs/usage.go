package rootfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Usage returns what the files below dir hold, in bytes, as Docker counts it:
// their sizes, not the blocks they take, a file with several names once, and
// directories nothing. Other file systems that are mounted below dir are left
// out. What vanishes meanwhile is no error.
func Usage(ctx context.Context, dir string) (int64, error) {
	fd, err := openDir(dir)
	if err != nil {
		return 0, err
	}
	defer closeFd(fd)
	u := usage{seen: make(map[inode]bool)}
	if err := u.tree(ctx, fd, 0); err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return u.bytes, nil
}

type usage struct {
	bytes int64
	seen  map[inode]bool // files with several names
	buf   [8192]byte
}

func (u *usage) tree(ctx context.Context, dir, depth int) error {
	if depth > maxCopyDepth {
		return fmt.Errorf("more than %d levels deep: %w", maxCopyDepth, unix.ELOOP)
	}
	names, err := u.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := u.entry(ctx, dir, name, depth); err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}

// names lists the directory dir, which was just opened. Most of what is measured
// is a directory or two, for which an os.File is too much of a good thing.
func (u *usage) names(dir int) (names []string, err error) {
	for {
		n, err := unix.Getdents(dir, u.buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read directory: %w", err)
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(u.buf[:n], -1, names)
	}
}

func (u *usage) entry(ctx context.Context, dir int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		fd, err := openDirAt(dir, name)
		if err != nil {
			return err
		}
		defer closeFd(fd)
		return u.tree(ctx, fd, depth+1)
	}
	if st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if u.seen[id] {
			return nil
		}
		u.seen[id] = true
	}
	u.bytes += st.Size
	return nil
}

// isGone reports whether an error says that a file was removed or replaced
// after its name was read, or that it is a mount point.
func isGone(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
