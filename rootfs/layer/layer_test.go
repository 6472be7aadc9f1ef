package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/layer"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// entry is a tar header with the content that follows.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func dir(name string, mode int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func link(typeflag byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: typeflag, Linkname: target, Mode: 0o777}, ""}
}

func symlink(name, target string) entry  { return link(tar.TypeSymlink, name, target) }
func hardlink(name, target string) entry { return link(tar.TypeLink, name, target) }

// with changes the header of e.
func with(e entry, change func(*tar.Header)) entry {
	change(&e.Header)
	return e
}

func xattr(e entry, name, value string) entry {
	return with(e, func(h *tar.Header) {
		records := map[string]string{"SCHILY.xattr." + name: value}
		for k, v := range h.PAXRecords {
			records[k] = v
		}
		h.PAXRecords = records
	})
}

func owner(e entry, uid, gid int) entry {
	return with(e, func(h *tar.Header) { h.Uid, h.Gid = uid, gid })
}

// pack writes a tar as an honest or a hostile tool would.
func pack(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("pack %q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatalf("pack %q: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// apply unpacks entries into a new directory and lists it.
func apply(t *testing.T, entries []entry, opts treetest.Options) []string {
	t.Helper()
	to := t.TempDir()
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Apply(t.Context(), bytes.NewReader(pack(t, entries)), to, layer.Options{}); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return treetest.List(t, to, opts)
}

const top = "dir 0755 0:0 ."

func TestApply(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	long := strings.Repeat("n", 200)
	device := func(typeflag byte, name string, major, minor int64) entry {
		return entry{tar.Header{Name: name, Typeflag: typeflag, Mode: 0o660, Gid: 6, Devmajor: major, Devminor: minor}, ""}
	}
	tests := map[string]struct {
		in   []entry
		want []string
	}{
		"an empty tar makes nothing": {nil, []string{top}},
		"the directory itself takes what its entry says": {
			[]entry{owner(dir("./", 0o1750), 7, 8)},
			[]string{"dir 1750 7:8 ."},
		},
		"setuid, setgid, sticky and owner stay": {
			[]entry{
				with(owner(file("su", "x"), 5, 6), func(h *tar.Header) { h.Mode = 0o6755 }),
				owner(dir("tmp/", 0o1777), 1, 2),
				owner(file("max", ""), 1<<31-1, 1<<31-1),
			},
			[]string{top, `file 0644 2147483647:2147483647 max ""`, `file 6755 5:6 su "x"`, "dir 1777 1:2 tmp"},
		},
		"group and setgid of a directory are not inherited": {
			[]entry{owner(dir("g", 0o2775), 0, 9), file("g/f", ""), dir("g/d", 0o755), file("g/i/j", "")},
			[]string{
				top, "dir 2775 0:9 g", "dir 0755 0:0 g/d", `file 0644 0:0 g/f ""`,
				"dir 0755 0:0 g/i", `file 0644 0:0 g/i/j ""`,
			},
		},
		"links of both kinds": {
			[]entry{file("a/f", "x"), hardlink("b/g", "a/f"), symlink("s", "../../nowhere"), hardlink("b/s", "s"), hardlink("h", "./a//f")},
			[]string{
				top, "dir 0755 0:0 a", `file 0644 0:0 a/f "x"`, "dir 0755 0:0 b", "link b/g to a/f",
				"symlink 0777 0:0 b/s -> ../../nowhere", "link h to a/f", "link s to b/s",
			},
		},
		"devices and pipes": {
			[]entry{device(tar.TypeChar, "null", 1, 3), device(tar.TypeBlock, "disk", 259, 70000), device(tar.TypeFifo, "pipe", 0, 0)},
			[]string{top, "block 0660 0:6 disk 259:70000", "char 0660 0:6 null 1:3", "fifo 0660 0:6 pipe"},
		},
		"a whiteout is a device 0:0": {
			[]entry{file("etc/.wh.passwd", ""), file(".wh.bin", "")},
			[]string{top, "char 0000 0:0 bin 0:0", "dir 0755 0:0 etc", "char 0000 0:0 etc/passwd 0:0"},
		},
		"an opaque directory keeps what this layer has, before and after": {
			[]entry{dir("d", 0o750), file("d/a", ""), file("d/.wh..wh..opq", ""), file("d/b", "")},
			[]string{top, `dir 0750 0:0 d trusted.overlay.opaque="y"`, `file 0644 0:0 d/a ""`, `file 0644 0:0 d/b ""`},
		},
		"a whiteout does not touch this layer's file, before or after": {
			[]entry{file("a", "1"), file(".wh.a", ""), file(".wh.b", ""), file("b", "2")},
			[]string{top, `file 0644 0:0 a "1"`, `file 0644 0:0 b "2"`},
		},
		"a whiteout of this layer's directory makes it opaque, before or after": {
			[]entry{
				file("a/f", ""), file(".wh.a", ""), file(".wh.b", ""), dir("b", 0o700),
				file("x/.wh.c", ""), file("x/c/f", ""),
			},
			[]string{
				top, `dir 0755 0:0 a trusted.overlay.opaque="y"`, `file 0644 0:0 a/f ""`,
				`dir 0700 0:0 b trusted.overlay.opaque="y"`, "dir 0755 0:0 x",
				`dir 0755 0:0 x/c trusted.overlay.opaque="y"`, `file 0644 0:0 x/c/f ""`,
			},
		},
		"aufs's own files are skipped": {
			[]entry{dir(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs", ""), file("f", "")},
			[]string{top, `file 0644 0:0 f ""`},
		},
		"the later entry wins, whatever the types": {
			[]entry{
				file("f", "old"), file("f", "new"), file("fd", ""), dir("fd", 0o700), file("fd/x", ""),
				file("df/a/b/c", ""), dir("df/empty", 0o700), file("df", "now a file"),
				symlink("s", "f"), file("s", "no link"), file("l", ""), symlink("l", "f"), symlink("l", "s"),
				file("h", ""), hardlink("h", "f"), dir("sd", 0o700), symlink("sd", "fd"), device(tar.TypeFifo, "fd", 0, 0),
			},
			[]string{
				top, `file 0644 0:0 df "now a file"`, `file 0644 0:0 f "new"`, "fifo 0660 0:6 fd", "link h to f",
				"symlink 0777 0:0 l -> s", `file 0644 0:0 s "no link"`, "symlink 0777 0:0 sd -> fd",
			},
		},
		"a directory named twice keeps its content": {
			[]entry{dir("d", 0o700), file("d/f", ""), owner(dir("d", 0o711), 3, 3)},
			[]string{top, "dir 0711 3:3 d", `file 0644 0:0 d/f ""`},
		},
		"attributes, the image's but not overlayfs's nor a security module's": {
			[]entry{
				xattr(xattr(owner(file("f", ""), 4, 4), "security.capability", netRaw), "user.a", "1\x002"),
				xattr(xattr(file("g", ""), "trusted.overlay.redirect", "/etc"), "security.selinux", "unconfined"),
				xattr(dir("d", 0o755), "trusted.overlay.opaque", "y"), xattr(dir("e", 0o755), "user.e", ""),
				xattr(symlink("s", "f"), "trusted.x", "1"), xattr(symlink("t", "f"), "user.unsupported", "1"),
			},
			[]string{
				top, "dir 0755 0:0 d", `dir 0755 0:0 e user.e=""`,
				`file 0644 4:4 f "" security.capability="` + netRawQuoted + `" user.a="1\x002"`, `file 0644 0:0 g ""`,
				`symlink 0777 0:0 s -> f trusted.x="1"`, "symlink 0777 0:0 t -> f",
			},
		},
		"long names": {
			[]entry{file(long+"/"+long+"/"+long, "x"), symlink("l", long+"/"+long)},
			[]string{
				top, "symlink 0777 0:0 l -> " + long + "/" + long, "dir 0755 0:0 " + long,
				"dir 0755 0:0 " + long + "/" + long, "file 0644 0:0 " + long + "/" + long + "/" + long + ` "x"`,
			},
		},
		"names are bytes": {
			[]entry{file("new\nline", ""), file("\xff\xfe", ""), file(" ", ""), file("a\\b", "")},
			[]string{top, `file 0644 0:0   ""`, `file 0644 0:0 a\b ""`, "file 0644 0:0 new\nline \"\"", "file 0644 0:0 \xff\xfe \"\""},
		},
		"a linked parent of this layer is followed inside it": {
			[]entry{dir("usr/lib", 0o755), symlink("lib", "usr/lib"), file("lib/x", "1"), symlink("abs", "/usr"), file("abs/lib/y", "2"), hardlink("z", "abs/lib/y")},
			[]string{
				top, "symlink 0777 0:0 abs -> /usr", "symlink 0777 0:0 lib -> usr/lib", "dir 0755 0:0 usr", "dir 0755 0:0 usr/lib",
				`file 0644 0:0 usr/lib/x "1"`, `file 0644 0:0 usr/lib/y "2"`, "link z to usr/lib/y",
			},
		},
		"a comment of git archive is skipped": {
			[]entry{{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""}, file("f", "")},
			[]string{top, `file 0644 0:0 f ""`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, apply(t, tt.in, treetest.Options{})); diff != "" {
				t.Errorf("unpacked tree (-want +got):\n%s", diff)
			}
		})
	}
}

// netRaw is CAP_NET_RAW as a file capability, revision 2.
const (
	netRaw       = "\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	netRawQuoted = `\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00`
)

func TestApplyKeepsTimes(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	at := func(e entry, sec, nsec int64) entry {
		return with(e, func(h *tar.Header) { h.ModTime, h.Format = time.Unix(sec, nsec), tar.FormatPAX })
	}
	got := apply(t, []entry{
		at(dir("./", 0o755), 100, 1),
		at(dir("a", 0o755), 200, 2),
		at(dir("a/b", 0o755), 300, 3),
		at(file("a/b/f", "x"), 400, 999999999),
		at(symlink("a/s", "b"), -5, 500),
		at(entry{tar.Header{Name: "a/p", Typeflag: tar.TypeFifo, Mode: 0o600}, ""}, 1<<33, 7),
		hardlink("a/b/h", "a/b/f"),
		file("a/b/.wh.gone", ""),
		at(file("a/late/f", ""), 500, 0), // makes a directory in a, after a's entry
		at(dir("a/late", 0o755), 600, 6),
		at(file("a/b/f", "again"), 700, 0),
	}, treetest.Options{Times: true})
	want := []string{
		"dir 0755 0:0 . mtime=100.000000001",
		"dir 0755 0:0 a mtime=200.000000002",
		"dir 0755 0:0 a/b mtime=300.000000003",
		`file 0644 0:0 a/b/f "again" mtime=700.000000000`,
		"char 0000 0:0 a/b/gone 0:0",
		`file 0644 0:0 a/b/h "x" mtime=400.999999999`,
		"dir 0755 0:0 a/late mtime=600.000000006",
		`file 0644 0:0 a/late/f "" mtime=500.000000000`,
		"fifo 0600 0:0 a/p mtime=8589934592.000000007",
		"symlink 0777 0:0 a/s -> b mtime=-5.000000500",
	}
	for i := range got { // a whiteout has no time of its own
		if before, _, ok := strings.Cut(got[i], " 0:0 mtime="); ok && strings.HasPrefix(got[i], "char") {
			got[i] = before + " 0:0"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestApplyCounts(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	in := pack(t, []entry{file("f", "12345"), hardlink("g", "f"), xattr(file(".wh.h", ""), "user.a", ""), xattr(file("i", "6"), "trusted.overlay.metacopy", "")})
	in = append(in, make([]byte, 10240)...) // tar pads to its record size
	r := bytes.NewReader(in)
	got, err := layer.Apply(t.Context(), r, t.TempDir(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(layer.Stats{Entries: 4, Bytes: 6, DroppedXattrs: 1}, got); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
	if r.Len() != 0 {
		t.Errorf("%d bytes of the stream are left: its digest would be wrong", r.Len())
	}
}

func TestApplyRefusesADirectoryWithContent(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Apply(t.Context(), bytes.NewReader(nil), to, layer.Options{}); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("Apply: %v, want ENOTEMPTY", err)
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	in := pack(t, []entry{file("big", strings.Repeat("x", 4<<20)), file("next", "")})
	r := &cancelAfter{r: bytes.NewReader(in), left: 1 << 20, cancel: func() { cancel(cause) }}
	to := t.TempDir()
	if _, err := layer.Apply(ctx, r, to, layer.Options{}); !errors.Is(err, cause) {
		t.Errorf("Apply: %v, want the cause of the cancellation", err)
	}
	if _, err := os.Lstat(filepath.Join(to, "next")); err == nil {
		t.Error("an entry was made after the cancellation")
	}
}

// cancelAfter calls cancel once left bytes were read.
type cancelAfter struct {
	r      io.Reader
	left   int
	cancel func()
}

func (c *cancelAfter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= n; c.left <= 0 {
		c.cancel()
	}
	return n, err
}

func TestApplyReportsATruncatedStream(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	whole := pack(t, []entry{file("a", strings.Repeat("x", 2000)), file("b", "")})
	for _, n := range []int{100, 512 + 1, 512 + 1024, 512 + 2048 + 100} {
		_, err := layer.Apply(t.Context(), bytes.NewReader(whole[:n]), t.TempDir(), layer.Options{})
		if !errors.Is(err, layer.ErrInvalid) {
			t.Errorf("after %d bytes: %v, want ErrInvalid", n, err)
		}
	}
	broken := errors.New("connection reset")
	_, err := layer.Apply(t.Context(), io.MultiReader(bytes.NewReader(whole[:1000]), failing{broken}), t.TempDir(), layer.Options{})
	if !errors.Is(err, broken) || errors.Is(err, layer.ErrInvalid) {
		t.Errorf("broken connection: %v, want that error and not ErrInvalid", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
