package fsx_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

func TestSweepTempTakesWhatDeadWritersLeft(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	write("kept")
	dead := write(".cleat-tmp-dead").Name()
	if err := unix.Flock(int(write(".cleat-tmp-living").Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, remove := range []bool{false, true} {
		found, err := fsx.SweepTemp(dir, remove)
		if diff := cmp.Diff([]string{dead}, found); diff != "" || err != nil {
			t.Errorf("remove %t: %v (-want +got):\n%s", remove, err, diff)
		}
	}
	if found, err := fsx.SweepTemp(dir, true); found != nil || err != nil {
		t.Errorf("again: %v, %v", found, err)
	}
	if found, err := fsx.SweepTemp(filepath.Join(dir, "absent"), true); found != nil || err != nil {
		t.Errorf("absent directory: %v, %v", found, err)
	}
}

func TestSweepTempDisturbsNoWriter(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if err := fsx.WriteFileVolatile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 200 {
		if _, err := fsx.SweepTemp(dir, true); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestLockFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var wg sync.WaitGroup
	var inside sync.Mutex
	for range 8 {
		wg.Go(func() {
			for range 100 {
				l, err := fsx.Acquire(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if !inside.TryLock() {
					t.Error("two hold the lock")
					l.Release()
					return
				}
				inside.Unlock()
				_ = os.Remove(path) // the next one locks a new file from here on
				l.Release()
			}
		})
	}
	wg.Wait()
}
