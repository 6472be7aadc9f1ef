package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tempPrefix starts the name of every temporary file that WriteFile makes. A
// process that is killed leaves one behind; SweepTemp removes it.
const tempPrefix = ".cleat-tmp-"

// IsTemp reports whether name, the last element of a path, is that of a
// temporary file of WriteFile.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

func write(path string, data []byte, perm os.FileMode, durable bool) (err error) {
	f, err := createTemp(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // best effort; SweepTemp removes what is left
		}
		_ = f.Close() // last, because it gives the lock up; the data is where it should be
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
	return os.Rename(f.Name(), path)
}

// createTemp makes a temporary file in dir, locked for as long as it is open.
// The lock tells SweepTemp that its writer lives.
func createTemp(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, tempPrefix+"*")
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err = flock(f, unix.LOCK_EX); err == nil {
			err = unix.Fstat(int(f.Fd()), &st)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), os.Remove(f.Name()), f.Close())
		}
		if st.Nlink > 0 {
			return f, nil
		}
		_ = f.Close() // swept before it was locked
	}
}

// SweepTemp returns the temporary files in dir whose writers were killed, and
// removes them if remove is set. A directory that is not there has none.
func SweepTemp(dir string, remove bool) (found []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !IsTemp(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		dead, err := sweepTemp(path, remove)
		if err != nil {
			return found, fmt.Errorf("sweep %s: %w", path, err)
		}
		if dead {
			found = append(found, path)
		}
	}
	if len(found) > 0 && !remove {
		// A writer has no lock on its file yet at the moment when it makes it.
		time.Sleep(lockGap) //nolint:forbidigo // there is no event
		found = slices.DeleteFunc(found, func(path string) bool {
			dead, err := sweepTemp(path, false)
			return err == nil && !dead
		})
	}
	return found, nil
}

// lockGap is far longer than a writer takes from making a file to locking it.
const lockGap = 50 * time.Millisecond

// sweepTemp reports whether the temporary file at path has no writer.
func sweepTemp(path string, remove bool) (dead bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it got its name meanwhile
	}
	if err != nil {
		return false, err
	}
	l := &Lock{f}
	defer l.Release()
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && !l.isAt(path) {
		return false, nil
	}
	if err != nil || !remove {
		return err == nil, err
	}
	return true, os.Remove(path)
}
