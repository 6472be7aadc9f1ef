package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// trashPrefix starts the name of everything that is being removed.
const trashPrefix = ".cleat-trash-"

// IsTrash reports whether name, the last element of a path, is that of
// something Trash has put aside. Listings leave such names out.
func IsTrash(name string) bool { return strings.HasPrefix(name, trashPrefix) }

func newTrashName() string { return fmt.Sprintf("%s%016x", trashPrefix, rand.Uint64()) }

// Trash renames the entry called name of directory dir to a trash name in dir,
// which it returns. From then on the entry is gone for everybody, at once and
// whatever happens to the process that goes on to remove it. The error wraps
// fs.ErrNotExist if there is no such entry.
func Trash(dir, name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return "", fmt.Errorf("remove %q in %s: %w", name, dir, unix.EINVAL)
	}
	trash := newTrashName()
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, trash)); err != nil {
		return "", err
	}
	return trash, nil
}

// SweepTrash removes what killed removals have left in directory dir, until
// ctx is done. It may run beside other sweeps and removals. A dir that does
// not exist has no trash.
func SweepTrash(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !IsTrash(e.Name()) {
			continue
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
		errs = append(errs, removeTrash(dir, e.Name()))
	}
	return errors.Join(errs...)
}

// RemoveAll removes the file or directory tree at path, which may be missing.
// It is put aside first (see Trash), so a removal that is killed leaves nothing
// of it visible. Symbolic links are removed, not followed; a mount point in the
// tree is an error, and what is mounted there is not touched.
func RemoveAll(path string) error {
	dir, name := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	trash, err := Trash(dir, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeTrash(dir, trash)
}

func removeTrash(dir, name string) error {
	fd, err := openDir(dir)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	if err := RemoveAt(fd, name); err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

// RemoveAt removes the file or directory tree called name, a single element,
// from the directory open as dirfd. A name that does not exist is no error.
// Links are not followed and mount points not crossed, as with RemoveAll.
func RemoveAt(dirfd int, name string) error {
	r := remover{top: -1}
	return r.entry(dirfd, name, 0)
}

// maxOpen is how many levels of a tree are open at once while it is removed.
// Deeper directories are moved up to the top first, so that depth costs neither
// descriptors nor stack.
const maxOpen = 64

// batch is how many names of a directory are read at a time.
const batch = 1024

type remover struct {
	top int // the topmost directory of the tree, -1 before it is open
}

// entry removes name from dirfd. Unlinking is tried first: that names cost less
// than asking for their type, and some filesystems do not know it.
func (r *remover) entry(dirfd int, name string, depth int) error {
	err := unix.Unlinkat(dirfd, name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("unlink %q: %w", name, err)
	case depth > maxOpen:
		return r.moveUp(dirfd, name)
	default:
		return r.tree(dirfd, name, depth)
	}
}

// tree removes the directory name and everything in it.
func (r *remover) tree(dirfd int, name string, depth int) error {
	fd, err := openDirAt(dirfd, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory %q: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer func() { _ = dir.Close() }() // only read
	if depth == 0 {
		r.top = fd
	}
	for idle := 0; ; {
		found, err := r.children(dir, depth)
		if err != nil {
			return err
		}
		err = unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		// Directories moved up (here or by another removal of the same tree),
		// and names that the filesystem passed over because others were
		// removed meanwhile, take another round.
		if !found {
			idle++
		}
		if !errors.Is(err, unix.ENOTEMPTY) || idle > maxRetries {
			return fmt.Errorf("remove directory %q: %w", name, err)
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// children removes what is in dir and reports whether there was anything.
func (r *remover) children(dir *os.File, depth int) (found bool, err error) {
	fd := int(dir.Fd())
	for {
		names, err := dir.Readdirnames(batch)
		for _, name := range names {
			found = true
			if err := r.entry(fd, name, depth+1); err != nil {
				return found, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) {
			return found, nil // ENOENT: somebody else has removed dir already
		}
		if err != nil {
			return found, err
		}
	}
}

// moveUp moves the directory name from dirfd to the top of the tree, where a
// later round finds it. The new name is random for the sake of other removals
// of the same tree.
func (r *remover) moveUp(dirfd int, name string) error {
	err := unix.Renameat(dirfd, name, r.top, newTrashName())
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("move %q up: %w", name, err)
	}
	return nil
}
