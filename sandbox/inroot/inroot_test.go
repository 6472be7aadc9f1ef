package inroot_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
)

// tree is a root with links of all kinds, beside a directory that must stay empty.
func tree(t *testing.T) (root inroot.Root, dir, outside string) {
	t.Helper()
	top := t.TempDir()
	dir, outside = filepath.Join(top, "root"), filepath.Join(top, "outside")
	for _, d := range []string{filepath.Join(dir, "a/b"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"abs": outside, "rel": "../outside", "up": strings.Repeat("../", 40) + outside[1:], "dangling": "not/there", "absdangling": "/x/y",
		"loop": "loop", "loop1": "loop2", "loop2": "loop1", "tob": "a/b", "a/upper": "..", "self": ".", "magic": "/proc/self/fd/0",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := inroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(root.Close)
	return root, dir, outside
}

func TestMake(t *testing.T) {
	tests := map[string]struct {
		path string
		kind inroot.Kind
		want string // where it is made, in the root; "" for an error
	}{
		"existing":                   {"a/b", inroot.Dir, "a/b"},
		"new directories":            {"/n/e/w", inroot.Dir, "n/e/w"},
		"a new file":                 {"n2/file", inroot.File, "n2/file"},
		"dots":                       {"/./n3/../n4//x/", inroot.Dir, "n4/x"},
		"dots over the root":         {"../../../n5", inroot.Dir, "n5"},
		"a link to a directory":      {"tob/c", inroot.Dir, "a/b/c"},
		"a link upwards":             {"a/upper/n6", inroot.Dir, "n6"},
		"a dangling link":            {"dangling/z", inroot.File, "not/there/z"},
		"a dangling absolute link":   {"absdangling", inroot.File, "x/y"},
		"an absolute link outside":   {"abs/n7", inroot.File, "OUTSIDE/n7"},
		"a relative link outside":    {"rel/n8", inroot.Dir, "outside/n8"},
		"a link far upwards":         {"up/n9", inroot.Dir, "OUTSIDE/n9"},
		"a loop":                     {"loop/x", inroot.Dir, ""},
		"a longer loop":              {"loop1/x", inroot.Dir, ""},
		"through a file":             {"file/x", inroot.Dir, ""},
		"a link to this directory":   {"self/self/self/n10", inroot.Dir, "n10"},
		"a link to a link of procfs": {"magic/x", inroot.Dir, "proc/self/fd/0/x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root, dir, outside := tree(t)
			fd, err := root.Make(tt.path, tt.kind)
			if tt.want == "" {
				if err == nil {
					t.Errorf("Make(%q) succeeded", tt.path)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(fd) }()
			want := filepath.Join(dir, strings.ReplaceAll(tt.want, "OUTSIDE", outside))
			if got, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); got != want || err != nil {
				t.Errorf("Make(%q) is %s, want %s, %v", tt.path, got, want, err)
			}
			if st, err := os.Lstat(want); err != nil || st.IsDir() != (tt.kind == inroot.Dir) {
				t.Errorf("%s: %v, %v", want, st, err)
			}
			checkEmpty(t, outside)
		})
	}
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("outside of the root there is %v, %v", entries, err)
	}
}

func TestRealPathsHaveNoLinks(t *testing.T) {
	root, _, _ := tree(t)
	for _, path := range []string{"abs", "tob/c", "dangling", "a/upper/x"} {
		if fd, err := root.MakeReal(path, inroot.Dir); !errors.Is(err, unix.ELOOP) {
			t.Errorf("MakeReal(%q) is %d, %v", path, fd, err)
		}
		if fd, err := root.OpenReal(path, unix.O_PATH); !errors.Is(err, unix.ELOOP) {
			t.Errorf("OpenReal(%q) is %d, %v", path, fd, err)
		}
	}
	fd, err := root.MakeReal("/new/er", inroot.Dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
}

func TestReadFile(t *testing.T) {
	root, dir, outside := tree(t)
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	if data, err := root.ReadFile("/file", 4); string(data) != "text" || err != nil {
		t.Errorf("a file of the very size: %q, %v", data, err)
	}
	for path, want := range map[string]error{
		"abs/secret": fs.ErrNotExist, "rel/secret": fs.ErrNotExist, "../outside/secret": fs.ErrNotExist,
		"fifo": unix.EINVAL, "a": unix.EINVAL, "nosuch": fs.ErrNotExist, "loop": unix.ELOOP,
	} {
		if data, err := root.ReadFile(path, 100); !errors.Is(err, want) {
			t.Errorf("ReadFile(%q) is %q, %v, want %v", path, data, err, want)
		}
	}
	if _, err := root.ReadFile("file", 3); !errors.Is(err, unix.EFBIG) {
		t.Errorf("a file that is too large: %v", err)
	}
}

// CVE-2021-30465, CVE-2024-45310: somebody swaps an element of the path with a
// link while it is walked.
func TestMakeWithRacer(t *testing.T) {
	root, dir, outside := tree(t)
	path, link := filepath.Join(dir, "swap"), filepath.Join(dir, "swap.link")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", link); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	})
	for i := range 2000 {
		fd, err := root.Make("swap/n"+strconv.Itoa(i)+"/x", inroot.File)
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	close(stop)
	wg.Wait()
	checkEmpty(t, outside)
}

func FuzzMake(f *testing.F) {
	for _, path := range []string{"a/b", "../..", "abs/x", "a/upper/../rel/y", "//", "up/../up/z"} {
		f.Add(path, true)
	}
	f.Fuzz(func(t *testing.T, path string, dir bool) {
		root, _, outside := tree(t)
		kind := inroot.File
		if dir {
			kind = inroot.Dir
		}
		if fd, err := root.Make(path, kind); err == nil {
			_ = unix.Close(fd)
		}
		checkEmpty(t, outside)
	})
}
