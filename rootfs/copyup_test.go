package rootfs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// image makes a root filesystem with something of every kind in /data, beside
// a canary that it has no business with.
func image(t testing.TB) (base string, root *os.File) {
	t.Helper()
	base = t.TempDir()
	data := base + "/root/data"
	writeFile(t, base+"/canary/secret", "secret")
	writeFile(t, data+"/sub/file", strings.Repeat("content ", 1000))
	writeFile(t, data+"/one", "1")
	makeDir(t, base+"/root/empty")
	symlink(t, "/canary", data+"/absolute")
	symlink(t, "../../canary", data+"/relative")
	symlink(t, "../data", base+"/root/empty/link")
	symlink(t, "/../../canary", base+"/root/out")
	symlink(t, "data/sub", base+"/root/linked")
	steps := []error{
		os.Link(data+"/one", data+"/sub/two"),
		unix.Mknod(data+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mkfifo(data+"/pipe", 0o640),
		unix.Mknod(data+"/socket", unix.S_IFSOCK|0o600, 0),
		os.Chown(data, 101, 102), os.Chmod(data, 0o1770),
		os.Lchown(data+"/relative", 5, 6), os.Chown(data+"/one", 7, 8), unix.Chmod(data+"/one", 0o4755),
		unix.Setxattr(data+"/one", "user.x", []byte("y"), 0), unix.Setxattr(data, "trusted.overlay.opaque", []byte("y"), 0),
		unix.Setxattr(data, "user.dir", []byte("y"), 0),
		os.Chtimes(data+"/sub", time.Unix(1, 2), time.Unix(3, 4)), os.Chtimes(data, time.Unix(1, 2), time.Unix(5, 6)),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(base + "/root")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return base, root
}

// wanted is what a volume of image's /data looks like.
func wanted(t testing.TB, base string) []string {
	t.Helper()
	var lines []string
	for _, line := range treetest.List(t, base+"/root/data", treetest.Options{Times: true}) {
		if !strings.Contains(line, " socket ") {
			lines = append(lines, strings.ReplaceAll(line, ` trusted.overlay.opaque="y"`, ""))
		}
	}
	return lines
}

func volume(t testing.TB, base string) string {
	t.Helper()
	makeDir(t, base+"/volumes/v/data")
	return base + "/volumes/v/data"
}

// checkVolume compares the volume with the image and looks for leftovers.
func checkVolume(t *testing.T, want []string, dst string) {
	t.Helper()
	if diff := cmp.Diff(want, treetest.List(t, dst, treetest.Options{Times: true})); diff != "" {
		t.Errorf("volume (-want +got):\n%s", diff)
	}
	left := strings.Join(names(t, filepath.Dir(dst)), " ")
	if left != ".cleat-copyup-lock-data data" {
		t.Errorf("beside the volume: %q", left)
	}
}

func TestCopyUpKeepsEverything(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	for _, opts := range []rootfs.CopyUpOptions{{}, {Volatile: true}} {
		base, root := image(t)
		dst := volume(t, base)
		before, err := os.Stat(dst)
		if err != nil {
			t.Fatal(err)
		}
		want := wanted(t, base)
		if err := rootfs.CopyUp(t.Context(), root, "/data", dst, opts); err != nil {
			t.Fatal(err)
		}
		checkVolume(t, want, dst)
		after, err := os.Stat(dst)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) {
			t.Error("the volume is another directory: a container that has it mounted would lose it")
		}
	}
}

func TestCopyUp(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	tests := map[string]struct {
		path    string
		prepare func(t *testing.T, dst string)
		want    []string // the names in the volume
		err     error
	}{
		"an empty directory gives its owner":     {path: "/empty/../empty", want: []string{"link"}},
		"a missing directory":                    {path: "/missing/dir"},
		"a file":                                 {path: "/data/one", err: unix.ENOTDIR},
		"a link inside the image is followed":    {path: "/linked", want: []string{"file", "two"}},
		"CVE-2022-23648 dots in the path":        {path: "/../../../canary"},
		"CVE-2022-23648 relative dots":           {path: "../canary"},
		"CVE-2022-23648 link to outside":         {path: "/out"},
		"CVE-2022-23648 link on the way":         {path: "/data/absolute/sub"},
		"CVE-2022-23648 relative link":           {path: "/data/relative"},
		"a volume with content stays as it is":   {path: "/data", prepare: func(t *testing.T, dst string) { writeFile(t, dst+"/mine", "") }, want: []string{"mine"}},
		"CVE-2020-1726 a hidden file counts too": {path: "/data", prepare: func(t *testing.T, dst string) { symlink(t, "/", dst+"/.l") }, want: []string{".l"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, root := image(t)
			dst := volume(t, base)
			if tt.prepare != nil {
				tt.prepare(t, dst)
			}
			canary := treetest.List(t, base+"/canary", treetest.Options{Times: true, Inodes: true})
			if err := rootfs.CopyUp(t.Context(), root, tt.path, dst, rootfs.CopyUpOptions{}); !errors.Is(err, tt.err) {
				t.Errorf("CopyUp: %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, names(t, dst)); diff != "" {
				t.Errorf("volume (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(canary, treetest.List(t, base+"/canary", treetest.Options{Times: true, Inodes: true})); diff != "" {
				t.Errorf("what is outside (-before +after):\n%s", diff)
			}
		})
	}
}

// Every state in which a killed copy-up leaves the disk is mended by the next.
func TestCopyUpAfterAKill(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	const moved = 6 // the names in /data that are copied
	for kill := range moved + 3 {
		base, root := image(t)
		dst := volume(t, base)
		want := wanted(t, base)
		side := filepath.Dir(dst)
		switch kill {
		case 0: // in the middle of the copy
			writeFile(t, side+"/.cleat-copying-data/half", "")
		case 1: // while the leftover of an earlier kill was removed
			writeFile(t, side+"/.cleat-copying-data/half", "")
			if _, err := rootfs.Trash(side, ".cleat-copying-data"); err != nil {
				t.Fatal(err)
			}
			if err := rootfs.SweepTrash(t.Context(), side); err != nil {
				t.Fatal(err)
			}
		default: // after kill-2 of the names were moved
			half := base + "/volumes/half/data"
			makeDir(t, half)
			if err := rootfs.CopyUp(t.Context(), root, "/data", half, rootfs.CopyUpOptions{}); err != nil {
				t.Fatal(err)
			}
			if n := len(names(t, half)); n != moved {
				t.Fatalf("%d names, want %d", n, moved)
			}
			for _, name := range names(t, half)[:kill-2] {
				if err := os.Rename(half+"/"+name, dst+"/"+name); err != nil {
					t.Fatal(err)
				}
			}
			at := time.Unix(5, 6)
			if err := errors.Join(os.Chtimes(half, at, at), os.Rename(half, side+"/.cleat-copied-data")); err != nil {
				t.Fatal(err)
			}
		}
		if err := rootfs.CopyUp(t.Context(), root, "/data", dst, rootfs.CopyUpOptions{}); err != nil {
			t.Fatalf("killed at %d: %v", kill, err)
		}
		checkVolume(t, want, dst)
	}
}

func TestCopyUpTogether(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	base, root := image(t)
	dst := volume(t, base)
	want := wanted(t, base)
	errs := make(chan error)
	for range 6 {
		go func() { errs <- rootfs.CopyUp(t.Context(), root, "/data", dst, rootfs.CopyUpOptions{}) }()
	}
	for range 6 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	checkVolume(t, want, dst)
}

func TestCopyUpCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	base, root := image(t)
	dst := volume(t, base)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := rootfs.CopyUp(ctx, root, "/data", dst, rootfs.CopyUpOptions{}); !errors.Is(err, cause) {
		t.Errorf("CopyUp: %v, want the cause of the cancellation", err)
	}
	checkVolume(t, treetest.List(t, dst, treetest.Options{Times: true}), dst)
	if left := names(t, dst); len(left) > 0 {
		t.Errorf("in the volume: %q", left)
	}
}

func TestCopyUpKeepsHoles(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	base, root := image(t)
	path := base + "/root/empty/sparse"
	writeFile(t, path, "begin")
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	dst := volume(t, base)
	if err := rootfs.CopyUp(t.Context(), root, "/empty", dst, rootfs.CopyUpOptions{Volatile: true}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dst+"/sparse", &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 64<<20 || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes, %d on disk", st.Size, st.Blocks*512)
	}
	if data, err := os.ReadFile(dst + "/sparse"); err != nil || !strings.HasPrefix(string(data[:10]), "begin\x00") {
		t.Errorf("content: %v", err)
	}
}
