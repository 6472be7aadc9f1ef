package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func newWatch(t *testing.T) *Watch {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func add(t *testing.T, w *Watch, path string, mask uint32) {
	t.Helper()
	if err := w.Add(path, mask); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// collect receives until all events of want have come.
func collect(w *Watch, want uint32) uint32 {
	got := uint32(0)
	for got&want != want {
		<-w.Events
		got |= w.Take()
	}
	return got
}

func TestWatchersOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	made, gone := newWatch(t), newWatch(t)
	add(t, made, dir, unix.IN_CREATE)
	add(t, gone, dir, unix.IN_DELETE)
	file := filepath.Join(dir, "f")
	create(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := collect(gone, unix.IN_DELETE); got != unix.IN_DELETE {
		t.Errorf("who waits for removals hears %#x", got)
	}
	if got := collect(made, unix.IN_CREATE); got != unix.IN_CREATE {
		t.Errorf("who waits for new files hears %#x", got)
	}
	gone.Close() // what the other one watches goes on
	create(t, file)
	collect(made, unix.IN_CREATE)
	select {
	case <-gone.Events:
		t.Error("a closed watch hears something")
	default:
	}
}

func TestMasksOfOneWatcherAdd(t *testing.T) {
	dir := t.TempDir()
	w := newWatch(t)
	add(t, w, dir, unix.IN_CREATE)
	add(t, w, dir, unix.IN_DELETE)
	file := filepath.Join(dir, "f")
	create(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	collect(w, unix.IN_CREATE|unix.IN_DELETE)
}

func TestDirectoryThatGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	w := newWatch(t)
	for range 2 { // the second time it is another one
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		add(t, w, dir, unix.IN_CREATE)
		create(t, filepath.Join(dir, "f"))
		collect(w, unix.IN_CREATE)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		collect(w, unix.IN_IGNORED)
	}
	if err := w.Add(dir, unix.IN_CREATE); !errors.Is(err, unix.ENOENT) {
		t.Errorf("watch of nothing: %v, want ENOENT", err)
	}
}

// TestManyWatchers has more of them than the kernel would give instances.
func TestManyWatchers(t *testing.T) {
	dir := t.TempDir()
	var all []*Watch
	for range 1000 {
		w := newWatch(t)
		add(t, w, dir, unix.IN_CREATE)
		all = append(all, w)
	}
	create(t, filepath.Join(dir, "f"))
	for _, w := range all {
		collect(w, unix.IN_CREATE)
	}
	for _, w := range all {
		w.Close()
	}
	h := all[0].hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watches) != 0 {
		t.Errorf("%d descriptors are kept", len(h.watches))
	}
}
