package tree_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/tree"
)

// place is a container's root directory beside files that nothing may read or
// change.
type place struct {
	t      testing.TB
	base   string
	root   string // base/root
	before []string
}

const secret = "the host's secret"

func newPlace(t testing.TB) *place {
	t.Helper()
	testenv.NeedRoot(t)
	p := &place{t: t, base: t.TempDir()}
	p.root = filepath.Join(p.base, "root")
	for _, d := range []string{"root", "canary/dir"} {
		if err := os.MkdirAll(filepath.Join(p.base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"canary/shadow", "canary/dir/f"} {
		if err := os.WriteFile(filepath.Join(p.base, f), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.before = p.look()
	return p
}

// look describes what must not change: the canary, what is beside the root, and
// some of the machine's files.
func (p *place) look() []string {
	p.t.Helper()
	seen := treetest.List(p.t, filepath.Join(p.base, "canary"), treetest.Options{Times: true, Inodes: true})
	names, err := os.ReadDir(p.base)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, n := range names {
		seen = append(seen, n.Name())
	}
	for _, path := range []string{"/etc/passwd", "/etc/shadow", "/proc/sys/kernel/core_pattern"} {
		data, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintf("%s %x", path, sha256.Sum256(data)))
	}
	return seen
}

// unharmed fails the test if anything outside of the root has changed.
func (p *place) unharmed() {
	p.t.Helper()
	if diff := cmp.Diff(p.before, p.look()); diff != "" {
		p.t.Errorf("changed outside of the root (-before +after):\n%s", diff)
	}
}

func (p *place) path(name string) string { return filepath.Join(p.root, name) }

// outside is the path of the canary as the host sees it.
func (p *place) outside(name string) string { return filepath.Join(p.base, "canary", name) }

func (p *place) mkdir(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(p.path(name), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *place) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) symlink(target, name string) {
	p.t.Helper()
	if err := os.Symlink(target, p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

// open opens a directory until the test ends.
func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// entry is one entry of a tar stream.
type entry struct {
	tar.Header
	content string
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("write header of %q: %v", e.Name, err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644}, content}
}

func dir(name string, mode int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o777, Uid: 5, Gid: 5}, ""}
}

// list describes what is in dir, without dir itself.
func list(t testing.TB, dir string, opts treetest.Options) []string {
	t.Helper()
	return treetest.List(t, dir, opts)[1:]
}

// swap exchanges two names again and again until stop is called.
func (p *place) swap(a, b string) (stop func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, p.path(a), unix.AT_FDCWD, p.path(b), unix.RENAME_EXCHANGE)
				runtime.Gosched()
			}
		}
	})
	return func() { close(done); wait.Wait() }
}

// extract unpacks into the directory name of the root, as into a container.
func (p *place) extract(stream []byte, name string, opt tree.ExtractOptions) error {
	p.t.Helper()
	root := open(p.t, p.root)
	fd, err := tree.Open(root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	opt.Root, opt.Path = root, name
	return tree.Extract(p.t.Context(), bytes.NewReader(stream), fd, opt)
}
