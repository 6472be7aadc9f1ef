// Package fsx has the file operations that everything in cleat rests on: replacing a
// file atomically, reading a record, holding an advisory lock.
package fsx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// TempPattern is the os.CreateTemp pattern of a file that IsTemp recognizes.
const TempPattern = tempPrefix + "*"

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

// Lock is an exclusive lock on a file, see flock(2).
type Lock struct{ f *os.File }

// Acquire takes the exclusive flock(2) on path, creating an empty file and its
// directory if need be, and waits until ctx is done. Only who holds the lock may remove the file:
// those who wait for it then notice, and lock the new one.
//
// The kernel drops the lock when the process dies, so there are no stale locks.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	l, err := TryAcquire(path)
	if !errors.Is(err, ErrLocked) {
		return l, err
	}
	for {
		l, err := wait(ctx, path, unix.LOCK_EX)
		if err != nil || l.isAt(path) {
			return l, err
		}
		l.Release()
	}
}

// AcquireShared is Acquire for a lock that any number may hold at a time, as long
// as nobody has the exclusive one. The file must not be removed.
func AcquireShared(ctx context.Context, path string) (*Lock, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return &Lock{f}, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return wait(ctx, path, unix.LOCK_SH)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// wait is Acquire and AcquireShared but for the look at what it has got.
func wait(ctx context.Context, path string, how int) (*Lock, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	// flock(2) cannot be interrupted from Go, so it blocks a thread of its own;
	// one that is given up on takes the lock later and drops it at once.
	done := make(chan error, 1)
	go func() { done <- flock(f, how) }()
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return &Lock{f}, nil
	case <-ctx.Done():
		go func() { _ = errors.Join(<-done, f.Close()) }()
		return nil, fmt.Errorf("wait for lock %s: %w", path, context.Cause(ctx))
	}
}

// ErrLocked is returned by TryAcquire when somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// TryAcquire takes the lock of Acquire if it is free, and returns ErrLocked if
// it is not.
func TryAcquire(path string) (*Lock, error) {
	for {
		l, err := try(path)
		if err != nil || l.isAt(path) {
			return l, err
		}
		l.Release()
	}
}

func try(path string) (*Lock, error) {
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

// isAt reports whether the locked file is still the one at path.
func (l *Lock) isAt(path string) bool {
	var held, there unix.Stat_t
	return unix.Fstat(int(l.f.Fd()), &held) == nil && unix.Lstat(path, &there) == nil &&
		held.Dev == there.Dev && held.Ino == there.Ino
}

func openLock(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW
	f, err := os.OpenFile(path, flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags, 0o600)
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

// ReadJSON decodes a file. If it does not exist, the error wraps spec.ErrNotFound.
func ReadJSON(path string, into any) error {
	data, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, spec.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}
