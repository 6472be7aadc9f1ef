package fsx_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/cleat-project/cleat/internal/fsx"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, write := range []func(string, []byte, os.FileMode) error{fsx.WriteFile, fsx.WriteFileVolatile} {
		for _, content := range []string{"long content", "short"} {
			if err := write(path, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != content {
				t.Errorf("read %q, %v; want %q", got, err, content)
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v: the umask must not apply", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files left: %v", entries)
	}
}

func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o700); err != nil { // cannot be replaced by a file
		t.Fatal(err)
	}
	if err := fsx.WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Fatal("replaced a directory")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files left: %v", entries)
	}
}

func TestLockExcludes(t *testing.T) {
	dir := t.TempDir()
	lock, counter := filepath.Join(dir, "lock"), filepath.Join(dir, "n")
	if err := os.WriteFile(counter, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			l, err := fsx.Acquire(t.Context(), lock)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Release()
			data, _ := os.ReadFile(counter)
			n, _ := strconv.Atoi(string(data))
			if err := os.WriteFile(counter, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if data, _ := os.ReadFile(counter); string(data) != "20" {
		t.Errorf("counted %s of 20", data)
	}
}

func TestLockWaitEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := fsx.Acquire(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fsx.TryAcquire(path); !errors.Is(err, fsx.ErrLocked) {
		t.Errorf("TryAcquire: %v", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := fsx.Acquire(ctx, path); !errors.Is(err, why) {
		t.Errorf("Acquire: %v", err)
	}
	held.Release()
	l, err := fsx.Acquire(t.Context(), path)
	if err != nil {
		t.Fatal("not released:", err)
	}
	l.Release()
}
