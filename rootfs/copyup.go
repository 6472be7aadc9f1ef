package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"golang.org/x/sys/unix"
)

// The names beside a volume's directory, or in it if something is mounted there,
// after which its own name follows. The
// steps of a copy-up are: copy into copying, rename that to copied, move its
// children into the volume, remove it. A process killed before the rename has
// done nothing; killed after it, the next copy-up finishes.
const (
	copyingPrefix = ".cleat-copying-"
	copiedPrefix  = ".cleat-copied-"
	lockPrefix    = ".cleat-copyup-lock-"
)

// CopyUpOptions says how to fill a volume. The zero value is for volumes that
// are kept.
type CopyUpOptions struct {
	Volatile bool // do not wait for the disk: the volume goes with its container
}

// CopyUp fills the empty volume directory dst with what the directory path of a
// container's root filesystem has, and gives dst that directory's owner, mode,
// times and extended attributes, as dockerd does for a new volume. It does
// nothing if dst has content or path does not exist, and fails with ENOTDIR if
// path is no directory.
//
// Root is the open top of the mounted filesystem; path is resolved with it as
// "/", so that no symbolic link of the image leads out (CVE-2022-23648), and
// links inside the copied tree are copied, not followed (CVE-2020-1726).
//
// The directory of dst must be one that only cleat can write to, since working
// copies lie there. Where dst is a mount point they lie in dst itself, because
// nothing can be moved into it from outside; a tmpfs is left empty, as by dockerd.
// Concurrent calls for one dst wait for each other until ctx is done. A call
// that is killed is finished or redone by the next one.
func CopyUp(ctx context.Context, root *os.File, path, dst string, opts CopyUpOptions) error {
	v := newVolume(dst)
	if pending, err := v.pending(); err != nil || !pending || v.volatile {
		return wrapCopy(path, dst, err)
	}
	lock, err := fsx.Acquire(ctx, v.path(lockPrefix))
	if err != nil {
		return wrapCopy(path, dst, err)
	}
	defer lock.Release()
	return wrapCopy(path, dst, v.fill(ctx, root, path, opts))
}

func wrapCopy(path, dst string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("copy %q to volume %s: %w", path, dst, err)
}

// volume is the place of a volume's directory.
type volume struct {
	dir, name string
	mounted   bool // something is mounted on it
	volatile  bool // which is a tmpfs
}

func newVolume(dst string) volume {
	dst = filepath.Clean(dst)
	v := volume{dir: filepath.Dir(dst), name: filepath.Base(dst)}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dst, 0, 0, &st); err != nil || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return v // an error comes again with the next step
	}
	v.mounted = true
	var fs unix.Statfs_t
	v.volatile = unix.Statfs(dst, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
	return v
}

func (v volume) path(prefix string) string {
	if v.mounted && (prefix == copyingPrefix || prefix == copiedPrefix) {
		return filepath.Join(v.dir, v.name, prefix+v.name)
	}
	return filepath.Join(v.dir, prefix+v.name)
}

// isEmpty reports whether the volume has no files but the working copies.
func (v volume) isEmpty() (empty bool, err error) {
	d, err := os.Open(v.path(""))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	names, err := d.Readdirnames(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for _, name := range names {
		if !v.mounted || name != copyingPrefix+v.name && name != copiedPrefix+v.name {
			return false, nil
		}
	}
	return true, nil
}

// pending reports whether there may be something to do. It needs no lock, if
// emptiness is looked at first: whoever fills the volume removes "copied" last.
func (v volume) pending() (bool, error) {
	empty, err := v.isEmpty()
	if err != nil || empty {
		return empty, err
	}
	return fsx.Exists(v.path(copiedPrefix)), nil
}

// fill does the work, under the lock.
func (v volume) fill(ctx context.Context, root *os.File, path string, opts CopyUpOptions) error {
	if fsx.Exists(v.path(copiedPrefix)) {
		return v.moveIn()
	}
	empty, err := v.isEmpty()
	if err != nil || !empty {
		return err
	}
	if err := RemoveAll(v.path(copyingPrefix)); err != nil {
		return err
	}
	src, err := openInRoot(root, path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFd(src)
	if err := v.copy(ctx, src, opts); err != nil {
		return errors.Join(err, RemoveAll(v.path(copyingPrefix)))
	}
	return v.moveIn()
}

// openInRoot opens the directory path as a process with the given root would.
func openInRoot(root *os.File, path string) (int, error) {
	fd, err := openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, fmt.Errorf("open directory of image: %w", err)
	}
	return fd, nil
}

// copy makes "copied", a complete copy of the directory src.
func (v volume) copy(ctx context.Context, src int, opts CopyUpOptions) error {
	staging := v.path(copyingPrefix)
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	fd, err := openDir(staging)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	c := copier{root: fd, links: make(map[inode]string)}
	if err := c.tree(ctx, src, fd, "", 0); err != nil {
		return err
	}
	if c.hasData && !opts.Volatile {
		// Else a power cut could leave a volume of empty files, which would
		// never be filled again.
		if err := unix.Syncfs(fd); err != nil {
			return fmt.Errorf("sync %s: %w", staging, err)
		}
	}
	return os.Rename(staging, v.path(copiedPrefix))
}

// moveIn moves the content of "copied" into the volume. The volume keeps its
// inode: another container may have it mounted already. A file that one has
// made meanwhile is kept.
func (v volume) moveIn() error {
	from, err := os.Open(v.path(copiedPrefix))
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	to, err := openDir(v.path(""))
	if err != nil {
		return err
	}
	defer closeFd(to)
	var st unix.Stat_t // moving changes the times
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := unix.Renameat2(int(from.Fd()), name, to, name, unix.RENAME_NOREPLACE)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("move %q into the volume: %w", name, err)
		}
	}
	if err := copyMeta(int(from.Fd()), to, &st); err != nil {
		return err
	}
	return RemoveAll(v.path(copiedPrefix))
}
