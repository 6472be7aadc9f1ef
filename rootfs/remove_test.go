package rootfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func makeDir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// names lists the names in dir.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// deepTree makes a tree of n levels below dir, one file in each, without
// writing a path that long.
func deepTree(t *testing.T, dir string, n int) {
	t.Helper()
	makeDir(t, dir)
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := range n {
		if err == nil {
			err = unix.Mkdirat(fd, "d", 0o700)
		}
		if err == nil {
			err = unix.Symlinkat("/", fd, fmt.Sprint("link", i))
		}
		if err != nil {
			t.Fatal(err)
		}
		var next int
		next, err = unix.Openat(fd, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd) // only opened
		fd = next
	}
	_ = unix.Close(fd) // only opened
}

func TestRemoveAll(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, path string){
		"nothing there":    func(*testing.T, string) {},
		"a file":           func(t *testing.T, path string) { writeFile(t, path, "") },
		"an empty tree":    makeDirFn,
		"a deep tree":      func(t *testing.T, path string) { deepTree(t, path, 700) },
		"two deep trees":   func(t *testing.T, path string) { deepTree(t, path+"/a", 150); deepTree(t, path+"/b", 150) },
		"a link to a tree": func(t *testing.T, path string) { symlink(t, "keep", path) },
		"a tree with links out": func(t *testing.T, path string) {
			makeDir(t, path+"/in")
			symlink(t, "../keep", path+"/up")
			symlink(t, "/etc", path+"/in/etc")
		},
		"many files": func(t *testing.T, path string) {
			makeDir(t, path)
			for i := range 1200 { // several batches
				writeFile(t, fmt.Sprintf("%s/%d", path, i), "")
			}
		},
		"directories that may not be read": func(t *testing.T, path string) {
			testenv.NeedRoot(t) // as overlayfs's work directories
			makeDir(t, path+"/work/sub")
			if err := os.Chmod(path+"/work", 0); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFile(t, dir+"/keep/file", "kept")
			before := treetest.List(t, dir+"/keep", treetest.Options{Times: true, Inodes: true})
			build(t, dir+"/victim")
			if err := rootfs.RemoveAll(dir + "/victim"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"keep"}, names(t, dir)); diff != "" {
				t.Errorf("names left (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, treetest.List(t, dir+"/keep", treetest.Options{Times: true, Inodes: true})); diff != "" {
				t.Errorf("the neighbour (-before +after):\n%s", diff)
			}
		})
	}
}

func makeDirFn(t *testing.T, path string) { makeDir(t, path) }

func symlink(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveAllRefusesNoNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{"", ".", "..", "/", "x/.."} {
		if err := rootfs.RemoveAll(path); !errors.Is(err, unix.EINVAL) {
			t.Errorf("RemoveAll(%q): %v, want EINVAL", path, err)
		}
	}
	if _, err := rootfs.Trash(dir, "a/b"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Trash of a path: %v, want EINVAL", err)
	}
	if _, err := rootfs.Trash(dir, "missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Trash of nothing: %v, want ErrNotExist", err)
	}
}

func TestTrashHidesAndSweepRemoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir+"/layer/a/b", "")
	writeFile(t, dir+"/other/f", "")
	for range 2 { // twice the same name, as after a killed removal
		trash, err := rootfs.Trash(dir, "layer")
		if err != nil {
			t.Fatal(err)
		}
		if !rootfs.IsTrash(trash) || rootfs.IsTrash("layer") {
			t.Errorf("IsTrash(%q) is false or that of an honest name true", trash)
		}
		writeFile(t, dir+"/layer/a/b", "")
	}
	if n := len(names(t, dir)); n != 4 {
		t.Errorf("%d names, want 2 and 2 of trash", n)
	}
	if err := rootfs.SweepTrash(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"layer", "other"}, names(t, dir)); diff != "" {
		t.Errorf("names after the sweep (-want +got):\n%s", diff)
	}
	if err := rootfs.SweepTrash(t.Context(), dir+"/missing"); err != nil {
		t.Errorf("sweep of a missing directory: %v", err)
	}
}

// Several removals of one tree at once, as a sweep beside a removal, all end
// well.
func TestSweepsBesideEachOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	deepTree(t, dir+"/tree", 200)
	for i := range 200 {
		writeFile(t, fmt.Sprintf("%s/tree/%d/f", dir, i), "")
	}
	if _, err := rootfs.Trash(dir, "tree"); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 4 {
		go func() { errs <- rootfs.SweepTrash(t.Context(), dir) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestRemoveAllStopsAtAMount(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	dir := t.TempDir()
	writeFile(t, dir+"/host/file", "kept")
	makeDir(t, dir+"/victim/mnt")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: namespace and mounts end with the thread
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(dir+"/host", dir+"/victim/mnt", "", unix.MS_BIND, "")
		}
		if err == nil {
			if rerr := rootfs.RemoveAll(dir + "/victim"); !errors.Is(rerr, unix.EXDEV) || !strings.Contains(rerr.Error(), `"mnt"`) {
				err = fmt.Errorf("RemoveAll: %w, want EXDEV and the name", rerr)
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(dir + "/host/file"); err != nil || string(data) != "kept" {
		t.Errorf("what was mounted: %q, %v", data, err)
	}
}
