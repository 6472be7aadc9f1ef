package tree_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/layer"
	"github.com/cleat-project/cleat/rootfs/tree"
)

// container is an overlay of two layers, and one that is written to.
type container struct {
	t                  testing.TB
	base, upper, merge string
	image              string // the layers alone, mounted
}

func newContainer(t testing.TB) *container {
	t.Helper()
	testenv.NeedRoot(t)
	base := t.TempDir()
	c := &container{t: t, base: base, upper: filepath.Join(base, "upper"), merge: filepath.Join(base, "merged"), image: filepath.Join(base, "image")}
	for _, d := range []string{"one/etc/deep", "one/gone", "one/dir/sub", "one/lib", "two/etc", "upper", "work", "merged", "image", "work2", "merged2"} {
		c.must(os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	for name, content := range map[string]string{
		"one/etc/passwd": "root", "one/etc/group": "root", "one/etc/deep/f": "f", "one/gone/f": "f", "one/dir/f": "f", "one/dir/g": "g",
		"one/dir/sub/h": "h", "two/etc/passwd": "root and more", "one/lib/same": "same", "one/lib/tricky": "before",
	} {
		c.must(os.WriteFile(filepath.Join(base, name), []byte(content), 0o644))
	}
	c.must(os.Symlink("etc", filepath.Join(base, "one/link")))
	c.must(unix.Mknod(filepath.Join(base, "two/gone"), unix.S_IFCHR, 0)) // a whiteout
	lower := []string{filepath.Join(base, "two"), filepath.Join(base, "one")}
	c.mount(rootfs.Mount{Lower: lower, Upper: c.upper, Work: filepath.Join(base, "work")}, c.merge)
	c.mount(rootfs.Mount{Lower: lower}, c.image)
	return c
}

func (c *container) mount(m rootfs.Mount, target string) {
	c.t.Helper()
	c.must(m.Do(target))
	c.t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func (c *container) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) path(name string) string { return filepath.Join(c.merge, name) }

func (c *container) write(name, content string) {
	c.t.Helper()
	c.must(os.WriteFile(c.path(name), []byte(content), 0o644))
}

func (c *container) options(warn func(string)) tree.DiffOptions {
	return tree.DiffOptions{
		Upper: open(c.t, c.upper), Lower: open(c.t, c.image), Warn: warn,
		Ignore: []string{"/dev", "/proc", "/etc/hosts", "/run", "/run/x"},
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(c *container)
		want string
	}{
		"nothing":                                   {func(*container) {}, ""},
		"a file is added":                           {func(c *container) { c.write("new", "") }, "A /new"},
		"a file is added in a directory":            {func(c *container) { c.write("etc/deep/new", "") }, "C /etc, C /etc/deep, A /etc/deep/new"},
		"a tree is added":                           {func(c *container) { c.must(os.MkdirAll(c.path("a/b"), 0o755)); c.write("a/b/f", "") }, "A /a, A /a/b, A /a/b/f"},
		"a file is changed":                         {func(c *container) { c.write("etc/passwd", "x") }, "C /etc, C /etc/passwd"},
		"a file is deleted":                         {func(c *container) { c.must(os.Remove(c.path("dir/f"))) }, "C /dir, D /dir/f"},
		"a directory is deleted":                    {func(c *container) { c.must(os.RemoveAll(c.path("dir"))) }, "D /dir"},
		"a file comes and goes":                     {func(c *container) { c.write("x", ""); c.must(os.Remove(c.path("x"))) }, ""},
		"a deleted name of the image is used again": {func(c *container) { c.write("gone", "") }, "A /gone"},
		"a mode":       {func(c *container) { c.must(os.Chmod(c.path("etc"), 0o700)) }, "C /etc"},
		"an owner":     {func(c *container) { c.must(os.Lchown(c.path("link"), 5, 5)) }, "C /link"},
		"an attribute": {func(c *container) { c.must(unix.Setxattr(c.path("dir"), "user.a", []byte("1"), 0)) }, "C /dir"},
		"only a time of a directory": {func(c *container) {
			now := time.Now()
			c.must(os.Chtimes(c.path("dir"), now, now))
		}, ""},
		"a file is copied up and stays as it was": {func(c *container) {
			f, err := os.OpenFile(c.path("lib/same"), os.O_WRONLY, 0)
			c.must(err)
			c.must(f.Close())
		}, ""},
		"content changes, size and time do not": {func(c *container) {
			fi, err := os.Stat(c.path("lib/tricky"))
			c.must(err)
			c.write("lib/tricky", "behind")
			c.must(os.Chtimes(c.path("lib/tricky"), fi.ModTime(), fi.ModTime()))
		}, "C /lib, C /lib/tricky"},
		"a directory is made anew": {func(c *container) {
			c.must(os.RemoveAll(c.path("dir")))
			c.must(os.Mkdir(c.path("dir"), 0o755))
			c.write("dir/f", "other")
			c.write("dir/new", "")
		}, "C /dir, C /dir/f, D /dir/g, A /dir/new, D /dir/sub"},
		"a directory below one that is made anew": {func(c *container) {
			c.must(os.RemoveAll(c.path("dir")))
			c.must(os.MkdirAll(c.path("dir/sub"), 0o755))
			c.must(os.Chmod(c.path("dir"), 0o700))
		}, "C /dir, D /dir/f, D /dir/g, C /dir/sub, D /dir/sub/h"},
		"a directory becomes a file": {func(c *container) { c.must(os.RemoveAll(c.path("dir"))); c.write("dir", "") }, "C /dir"},
		"a link becomes a directory": {func(c *container) {
			c.must(os.Remove(c.path("link")))
			c.must(os.Mkdir(c.path("link"), 0o755))
			c.write("link/x", "")
		}, "C /link, A /link/x"},
		"a file is moved": {func(c *container) { c.must(os.Rename(c.path("dir/f"), c.path("lib/f"))) }, "C /dir, D /dir/f, C /lib, A /lib/f"},
		"a directory is made anew as it was": {func(c *container) {
			c.must(os.RemoveAll(c.path("gone")))
			c.must(os.Mkdir(c.path("etc/x"), 0o755))
			c.must(os.Remove(c.path("etc/x")))
			c.must(os.Chmod(c.merge, 0o700))
		}, ""},
		"mount points that a start makes": {func(c *container) {
			c.must(os.MkdirAll(c.path("run/x"), 0o755))
			c.must(os.Mkdir(c.path("proc"), 0o755))
			c.write("etc/hosts", "")
		}, ""},
		"mount points with something in them": {func(c *container) {
			c.must(os.MkdirAll(c.path("run/x"), 0o755))
			c.write("run/x/f", "")
			c.write("etc/hosts", "127.0.0.1")
		}, "C /etc, A /etc/hosts, A /run, A /run/x, A /run/x/f"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			tt.do(c)
			changes, err := tree.Changes(t.Context(), c.options(nil))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, change := range changes {
				got = append(got, change.Kind.String()+" "+change.Path)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("Changes (-want +got):\n%s", diff)
			}
			c.committed(len(changes) > 0)
			c.settled()
		})
	}
}

// committed packs the changes as a layer, unpacks that on top of the image, and
// compares the result with what the container sees.
func (c *container) committed(changed bool) {
	c.t.Helper()
	var stream bytes.Buffer
	c.must(tree.PackChanges(c.t.Context(), &stream, c.options(func(s string) { c.t.Errorf("warning: %s", s) })))
	if empty := len(names(c.t, stream.Bytes())) == 0; empty == changed {
		c.t.Errorf("the layer has the entries %q", names(c.t, stream.Bytes()))
	}
	three := filepath.Join(c.base, "three")
	c.must(os.Mkdir(three, 0o755))
	if _, err := layer.Apply(c.t.Context(), &stream, three, layer.Options{}); err != nil {
		c.t.Fatal(err)
	}
	again := filepath.Join(c.base, "merged2")
	c.mount(rootfs.Mount{Lower: []string{three, filepath.Join(c.base, "two"), filepath.Join(c.base, "one")}}, again)
	want := list(c.t, c.merge, treetest.Options{})
	for _, made := range []string{"dir 0755 0:0 proc", "dir 0755 0:0 run", "dir 0755 0:0 run/x", `file 0644 0:0 etc/hosts ""`} {
		if !changed {
			want = without(want, made)
		}
	}
	if diff := cmp.Diff(want, list(c.t, again, treetest.Options{})); diff != "" {
		c.t.Errorf("the container and its image (-container +image):\n%s", diff)
	}
}

// settled makes a layer of the writable layer itself, and compares it with what
// unpacking its stream has made.
func (c *container) settled() {
	c.t.Helper()
	opt, plain := c.options(nil), &tree.Plain{}
	opt.Plain = plain
	c.must(tree.PackChanges(c.t.Context(), io.Discard, opt))
	c.must(unix.Unmount(c.merge, unix.MNT_DETACH))
	c.must(plain.Settle(c.upper))
	want, got := secondsOf(treetest.List(c.t, filepath.Join(c.base, "three"), treetest.Options{Times: true})), secondsOf(treetest.List(c.t, c.upper, treetest.Options{Times: true}))
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("unpacked and settled (-unpacked +settled):\n%s", diff)
	}
}

// secondsOf cuts times to what a stream holds of them, and leaves out those that it
// does not hold.
func secondsOf(lines []string) (cut []string) {
	for _, line := range lines {
		line, mtime, _ := strings.Cut(line, " mtime=")
		if mtime, _, _ = strings.Cut(mtime, "."); !strings.HasSuffix(line, " .") && !strings.HasPrefix(line, "char ") {
			line += " mtime=" + mtime
		}
		cut = append(cut, line)
	}
	return cut
}

func TestSettleRefuses(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(c *container, opt *tree.DiffOptions){
		"a device": func(c *container, _ *tree.DiffOptions) {
			c.must(unix.Mknod(c.path("d"), unix.S_IFCHR, int(unix.Mkdev(1, 3))))
		},
		"a name of a layer":  func(c *container, _ *tree.DiffOptions) { c.write("etc/.wh.x", "") },
		"times that are set": func(c *container, opt *tree.DiffOptions) { c.write("x", ""); opt.Latest = time.Unix(1, 0) },
	} {
		c := newContainer(t)
		opt := c.options(nil)
		do(c, &opt)
		opt.Plain = &tree.Plain{}
		c.must(tree.PackChanges(t.Context(), io.Discard, opt))
		if err := opt.Plain.Settle(c.upper); !errors.Is(err, tree.ErrNotPlain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What a stream does not hold, sockets, and nobody else's files.
	c := newContainer(t)
	c.must(os.MkdirAll(c.path("new/deep"), 0o755))
	c.must(unix.Mknod(c.path("new/socket"), unix.S_IFSOCK|0o600, 0))
	c.must(os.Symlink(c.base, c.path("new/out")))
	opt := c.options(nil)
	opt.Plain = &tree.Plain{}
	c.must(tree.PackChanges(t.Context(), io.Discard, opt))
	c.must(opt.Plain.Settle(c.upper))
	want := []string{"dir 0755 0:0 new", "dir 0755 0:0 new/deep", "symlink 0777 0:0 new/out -> " + c.base}
	if diff := cmp.Diff(want, list(t, c.upper, treetest.Options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func without(lines []string, line string) (kept []string) {
	for _, l := range lines {
		if l != line {
			kept = append(kept, l)
		}
	}
	return kept
}

func TestPackChangesIsALayer(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.must(os.Remove(c.path("dir/f")))
	c.write("new", "x")
	c.must(os.Link(c.path("new"), c.path("other")))
	c.must(os.Mkdir(c.path("d"), 0o755))
	c.write("d/.wh.f", "forged")
	c.must(os.Mkdir(c.path("d/.wh.g"), 0o755))
	c.write("d/.wh.g/h", "forged")
	var warnings []string
	var stream bytes.Buffer
	c.must(tree.PackChanges(t.Context(), &stream, c.options(func(s string) { warnings = append(warnings, s) })))
	want := []string{"5 d/", "5 dir/", "0 dir/.wh.f", `0 new "x"`, "1 other -> new"}
	if diff := cmp.Diff(want, names(t, stream.Bytes())); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
	if len(warnings) != 3 || !strings.Contains(warnings[0], `"/d/.wh.f" is left out`) {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestChangesOfAnImageWithoutLayers(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.write("etc/new", "")
	opt := c.options(nil)
	opt.Lower = -1
	got, err := tree.Changes(t.Context(), opt)
	if diff := cmp.Diff([]tree.Change{{Path: "/etc", Kind: tree.Added}, {Path: "/etc/new", Kind: tree.Added}}, got); err != nil || diff != "" {
		t.Errorf("Changes: %v (-want +got):\n%s", err, diff)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := tree.Changes(ctx, opt); !errors.Is(err, enough) {
		t.Errorf("cancelled: %v", err)
	}
}
