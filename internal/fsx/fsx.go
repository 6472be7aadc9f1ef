// Package fsx has the two file operations that everything durable in cleat
// rests on: replacing a file atomically and holding an advisory lock.
package fsx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tempPrefix starts the name of every temporary file that WriteFile makes. A
// process that is killed leaves one behind; Sweep removes it.
const tempPrefix = ".cleat-tmp-"

// WriteFile replaces the file at path with data. After a crash a reader sees
// the whole old or the whole new content, never a mix, and once WriteFile has
// returned nil it sees the new one. Perm is applied as is, without the umask.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	if err := write(path, data, perm, true); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// WriteFileVolatile replaces the file at path with data as WriteFile does, but
// does not wait for the disk: a power cut may lose the new content or leave it
// empty. It is for state that a reboot makes void.
func WriteFileVolatile(path string, data []byte, perm os.FileMode) error {
	return write(path, data, perm, false)
}

func write(path string, data []byte, perm os.FileMode, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name()) // best effort; Sweep removes what a kill leaves
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// SyncDir flushes the entries of directory dir to disk, so that files created,
// renamed or removed in it stay so after a power cut.
func SyncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// IsTemp reports whether name, the last element of a path, is that of a
// temporary file of WriteFile.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// Lock is an exclusive lock on a file, see flock(2).
type Lock struct{ f *os.File }

// Acquire takes the exclusive flock(2) on path, creating an empty file if need
// be, and waits until ctx is done. The file is never removed: a second process
// could otherwise lock the old inode while a third locks the new one.
//
// The kernel drops the lock when the process dies, so there are no stale locks.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	l, err := TryAcquire(path)
	if !errors.Is(err, ErrLocked) {
		return l, err
	}
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	// flock(2) cannot be interrupted from Go, so it blocks a thread of its own;
	// one that is given up on takes the lock later and drops it at once.
	done := make(chan error, 1)
	go func() { done <- flock(f, unix.LOCK_EX) }()
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return &Lock{f}, nil
	case <-ctx.Done():
		go func() { <-done; _ = f.Close() }()
		return nil, fmt.Errorf("wait for lock %s: %w", path, context.Cause(ctx))
	}
}

// ErrLocked is returned by TryAcquire when somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// TryAcquire takes the lock of Acquire if it is free, and returns ErrLocked if
// it is not.
func TryAcquire(path string) (*Lock, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Release gives the lock back. It may be called once; a nil Lock is ignored.
func (l *Lock) Release() {
	if l != nil {
		_ = l.f.Close() // closing drops the flock; nothing was written
	}
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Exists reports whether path is there, without following a final symlink. An
// error other than "not there" counts as there: the caller's next step reports it.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
