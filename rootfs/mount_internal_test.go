package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/testenv"
	"golang.org/x/sys/unix"
)

// inMountNamespace runs fn on a thread with a mount namespace of its own, which
// goes with the thread and takes the mounts along.
func inMountNamespace(t testing.TB, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// newMount makes n layers with awkward names, each with a file of its own and
// one that all have, upper and work directories and a place to mount on.
func newMount(t testing.TB, n int) (m Mount, target string) {
	t.Helper()
	base := filepath.Join(t.TempDir(), `a:b,c\d e`)
	for i := range n {
		dir := filepath.Join(base, strings.Repeat("0123456789abcdef", 4)+fmt.Sprintf(`:%d,\`, i))
		makeDir(t, dir)
		writeFile(t, filepath.Join(dir, "all"), fmt.Sprint(i))
		writeFile(t, filepath.Join(dir, fmt.Sprintf("own-%d", i)), fmt.Sprint(i))
		m.Lower = append(m.Lower, dir)
	}
	return withUpper(t, m)
}

// withUpper gives m directories of its own over the same layers.
func withUpper(t testing.TB, m Mount) (_ Mount, target string) {
	t.Helper()
	base := filepath.Join(t.TempDir(), `e:f,g\h i`)
	m.Upper, m.Work, target = filepath.Join(base, "upper"), filepath.Join(base, "work"), filepath.Join(base, "target")
	for _, dir := range []string{m.Upper, m.Work, target} {
		makeDir(t, dir)
	}
	return m, target
}

func makeDir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkLayers looks whether all n layers are there, in their order.
func checkLayers(target string, n int) error {
	for i := range n {
		if _, err := os.ReadFile(filepath.Join(target, fmt.Sprintf("own-%d", i))); err != nil {
			return err
		}
	}
	if got, err := os.ReadFile(filepath.Join(target, "all")); err != nil || string(got) != "0" {
		return fmt.Errorf("the top layer does not win: %q, %w", got, err)
	}
	return nil
}

func TestEveryWayOfMounting(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	ways := map[string]func(*layers, string) error{
		"by descriptor":      func(l *layers, target string) error { return l.mountNew(target, layerFd) },
		"by name":            func(l *layers, target string) error { return l.mountNew(target, layerName) },
		"by one option page": (*layers).mountOld,
	}
	shared, _ := newMount(t, 120)
	for name, mount := range ways {
		for _, volatile := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, volatile %v", name, volatile), func(t *testing.T) {
				t.Parallel()
				m, target := withUpper(t, shared)
				m.Volatile = volatile
				inMountNamespace(t, func() error {
					l, err := m.open()
					defer l.close()
					if err == nil {
						err = mount(l, target)
					}
					if errors.Is(err, errOldKernel) {
						t.Skip("this kernel does not know it")
					}
					if err != nil {
						return err
					}
					if err := os.WriteFile(filepath.Join(target, "new"), nil, 0o600); err != nil {
						return err
					}
					return checkLayers(target, 120)
				})
				if _, err := os.Stat(filepath.Join(m.Upper, "new")); err != nil {
					t.Errorf("a written file is not in the upper directory: %v", err)
				}
				_, err := os.Stat(filepath.Join(m.Work, "work/incompat/volatile"))
				if volatile != (err == nil) {
					t.Errorf("volatile %v, the mark of volatile mounts: %v", volatile, err)
				}
			})
		}
	}
}

func TestMountForms(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	tests := map[string]struct {
		layers    int
		upper     bool
		wantWrite error
	}{
		"layers and upper":       {3, true, nil},
		"one layer and upper":    {1, true, nil},
		"upper alone":            {0, true, nil},
		"one layer, read-only":   {1, false, unix.EROFS},
		"two layers, read-only":  {2, false, unix.EROFS},
		"127 layers, with upper": {127, true, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, target := newMount(t, tt.layers)
			if !tt.upper {
				m.Upper, m.Work = "", ""
			}
			inMountNamespace(t, func() error {
				if err := m.Do(target); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(target, "new"), nil, 0o600); !errors.Is(err, tt.wantWrite) {
					t.Errorf("write: %v, want %v", err, tt.wantWrite)
				}
				if tt.layers == 0 {
					return nil
				}
				return checkLayers(target, tt.layers)
			})
		})
	}
}

// A volatile work directory is marked for ever and overlayfs refuses it the
// next time; "cleat restart" of a --rm container needs that.
func TestVolatileMountsAgain(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	m, target := newMount(t, 2)
	m.Volatile = true
	inMountNamespace(t, func() error {
		for range 3 {
			if err := m.Do(target); err != nil {
				return err
			}
			if err := unix.Unmount(target, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestMountOnADescriptor(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	m, target := newMount(t, 2)
	inMountNamespace(t, func() error {
		fd, err := openDir(target)
		if err != nil {
			return err
		}
		defer closeFd(fd)
		if err := m.Do(procFd(fd)); err != nil {
			return err
		}
		return checkLayers(target, 2)
	})
}

func TestMountSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	tests := map[string]struct {
		change func(*Mount)
		want   []string
	}{
		"nothing to mount":     {func(m *Mount) { *m = Mount{} }, []string{"neither layers"}},
		"upper without work":   {func(m *Mount) { m.Work = "" }, []string{"go together"}},
		"a layer is missing":   {func(m *Mount) { m.Lower[1] += "x" }, []string{"no such file", "1,\\x"}},
		"upper is missing":     {func(m *Mount) { m.Upper += "x" }, []string{"no such file", "upperx"}},
		"work inside of upper": {func(m *Mount) { m.Work = m.Upper }, []string{"invalid argument", "overlay of 2 layers"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, target := newMount(t, 2)
			tt.change(&m)
			inMountNamespace(t, func() error {
				err := m.Do(target)
				if err == nil {
					return errors.New("mounted")
				}
				for _, part := range append(tt.want, target) {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not mention %q", err, part)
					}
				}
				if names, err := os.ReadDir(target); err != nil || len(names) > 0 {
					return fmt.Errorf("something is mounted: %v, %w", names, err)
				}
				return nil
			})
		})
	}
}

// An image cannot redirect a directory of the overlay even if the attribute
// were in a layer: redirects are off.
func TestMountIgnoresRedirects(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	m, target := newMount(t, 2)
	makeDir(t, filepath.Join(m.Lower[0], "visible"))
	makeDir(t, filepath.Join(m.Lower[1], "hidden"))
	writeFile(t, filepath.Join(m.Lower[1], "hidden/secret"), "")
	if err := unix.Setxattr(filepath.Join(m.Lower[0], "visible"), "trusted.overlay.redirect", []byte("/hidden"), 0); err != nil {
		t.Fatal(err)
	}
	inMountNamespace(t, func() error {
		if err := m.Do(target); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(target, "visible/secret")); err == nil {
			return errors.New("a redirect of a layer was followed")
		}
		return nil
	})
}

// The source of a copy-up is an overlay: files of several layers, a whiteout and
// hard links that the filesystems below do not share.
func TestCopyUpFromAMount(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	m, target := newMount(t, 2)
	writeFile(t, filepath.Join(m.Lower[1], "data-gone"), "")
	if err := unix.Mknod(filepath.Join(m.Lower[0], "data-gone"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(m.Lower[1], "own-1"), filepath.Join(m.Lower[1], "linked")); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "data")
	makeDir(t, dst)
	inMountNamespace(t, func() error {
		if err := m.Do(target); err != nil {
			return err
		}
		root, err := os.Open(target)
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }() // only read
		return CopyUp(t.Context(), root, "/", dst, CopyUpOptions{})
	})
	var names []string
	entries, err := os.ReadDir(dst)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "all linked own-0 own-1" {
		t.Errorf("copied %s", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dst, "linked"), &st); err != nil || st.Nlink != 2 {
		t.Errorf("linked has %d names, %v", st.Nlink, err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "all")); err != nil || string(got) != "0" {
		t.Errorf("the top layer does not win: %q, %v", got, err)
	}
}

func BenchmarkMount(b *testing.B) {
	testenv.NeedRoot(b)
	for _, n := range []int{1, 5, 20, 120} {
		b.Run(fmt.Sprintf("layers=%d", n), func(b *testing.B) {
			m, target := newMount(b, n)
			inMountNamespace(b, func() error {
				for b.Loop() {
					if err := m.Do(target); err != nil {
						return err
					}
					b.StopTimer()
					if err := unix.Unmount(target, 0); err != nil {
						return err
					}
					b.StartTimer()
				}
				return nil
			})
		})
	}
}

// Linux tells in two ways that it does not take layers one by one, and only by
// one of them that it may take their names.
func TestOldKernelsAreTold(t *testing.T) {
	for answer, want := range map[error]error{
		unix.EINVAL:     errOldKernel,
		unix.EOPNOTSUPP: errOldOverlay,
		unix.EACCES:     unix.EACCES,
	} {
		l := layers{lower: []int{-1}, upper: -1, work: -1}
		err := l.configure(-1, func(int, string, int) error { return answer })
		if !errors.Is(err, want) {
			t.Errorf("a kernel that says %v: %v, want %v", answer, err, want)
		}
	}
}
