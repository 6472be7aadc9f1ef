package tree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/tree"
)

func TestExtractMergesWithWhatIsThere(t *testing.T) {
	t.Parallel()
	const old, link = `-file 0644 0:0 old "old"`, "-symlink 0777 0:0 link -> old"
	tests := map[string]struct {
		in   []entry
		opt  tree.ExtractOptions
		want []string
	}{
		"new files, and parents that the stream does not name": {
			[]entry{file("a/b/f", "new")}, tree.ExtractOptions{},
			[]string{"+dir 0755 0:0 a", "+dir 0755 0:0 a/b", `+file 0644 0:0 a/b/f "new"`},
		},
		"a file replaces a file, and leaves its other name alone": {
			[]entry{hardlink("other", "old"), file("old", "new")}, tree.ExtractOptions{KeepKind: true},
			[]string{old, `+file 0644 0:0 old "new"`, `+file 0644 0:0 other "old"`},
		},
		"a file replaces a link, not what that leads to": {
			[]entry{file("link", "new")}, tree.ExtractOptions{KeepKind: true}, []string{link, `+file 0644 0:0 link "new"`},
		},
		"a link replaces a file": {
			[]entry{symlink("old", "x")}, tree.ExtractOptions{KeepKind: true}, []string{old, "+symlink 0777 0:0 old -> x"},
		},
		"a directory keeps what is in it and gets the mode": {
			[]entry{dir("dir", 0o700), file("dir/more", "")}, tree.ExtractOptions{},
			[]string{"-dir 0755 0:0 dir", "+dir 0700 0:0 dir", `+file 0644 0:0 dir/more ""`},
		},
		"a file replaces a directory where that is allowed": {
			[]entry{file("dir", "new")}, tree.ExtractOptions{},
			[]string{"-dir 0755 0:0 dir", `-file 0644 0:0 dir/in "in"`, `+file 0644 0:0 dir "new"`},
		},
		"a directory replaces a file where that is allowed": {
			[]entry{dir("old", 0o711)}, tree.ExtractOptions{}, []string{old, "+dir 0711 0:0 old"},
		},
		"a linked parent is followed inside the container": {
			[]entry{file("todir/x", "new"), file("up/y", "new")}, tree.ExtractOptions{},
			[]string{`+file 0644 0:0 dir/x "new"`, `+file 0644 0:0 dir/y "new"`},
		},
		"a hard link to a file that was there": {
			[]entry{hardlink("more", "old")}, tree.ExtractOptions{}, []string{old, `+file 0644 0:0 more "old"`, "+link old to more"},
		},
		"a hard link onto its own target": {
			[]entry{hardlink("old", "old")}, tree.ExtractOptions{}, nil,
		},
		"everything has one owner": {
			[]entry{{tar.Header{Name: "f", Mode: 0o4755, Uid: 9, Gid: 9}, ""}, dir("d", 0o755), symlink("l", "f")},
			tree.ExtractOptions{Owner: &tree.Owner{UID: 7, GID: 8}},
			[]string{"+dir 0755 7:8 d", `+file 4755 7:8 f ""`, "+symlink 0777 7:8 l -> f"},
		},
		"what gives rights is left out": {
			[]entry{
				{tar.Header{Name: "suid", Mode: 0o6755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x", "SCHILY.xattr.user.a": "1"}}, ""},
				{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Mode: 0o666, Devmajor: 8}, ""},
				{tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
				{tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600}, ""},
			},
			tree.ExtractOptions{Harmless: true},
			[]string{"+fifo 0600 0:0 pipe", `+file 0755 0:0 suid "" user.a="1"`},
		},
		"overlayfs's own marks are left out": {
			[]entry{{tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}}, ""}},
			tree.ExtractOptions{}, []string{"+dir 0755 0:0 d"},
		},
		"devices": {
			[]entry{{tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3, Uid: 4}, ""}},
			tree.ExtractOptions{}, []string{"+char 0666 4:0 null 1:3"},
		},
		"whiteouts are files like others": {
			[]entry{file(".wh.old", "x")}, tree.ExtractOptions{}, []string{`+file 0644 0:0 .wh.old "x"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.mkdir("to/dir")
			p.write("to/old", "old")
			p.write("to/dir/in", "in")
			p.symlink("old", "to/link")
			p.symlink("dir", "to/todir")
			p.symlink("/to/dir", "to/up")
			was := list(t, p.path("to"), treetest.Options{})
			if err := p.extract(pack(t, tt.in...), "/to", tt.opt); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, differences(was, list(t, p.path("to"), treetest.Options{}))); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			p.unharmed()
		})
	}
}

// differences lists the lines that are in one list only, marked with - or +.
func differences(before, after []string) (lines []string) {
	for _, line := range before {
		if !slices.Contains(after, line) {
			lines = append(lines, "-"+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			lines = append(lines, "+"+line)
		}
	}
	return lines
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   []entry
		is   error
		want string
	}{
		"a file in place of a directory": {[]entry{file("dir", "")}, tree.ErrKind, "cannot overwrite a directory with a non-directory"},
		"a link in place of a directory": {[]entry{symlink("dir", "x")}, tree.ErrKind, "cannot overwrite a directory with a non-directory"},
		"a directory in place of a file": {[]entry{dir("old", 0o755)}, tree.ErrKind, "cannot overwrite a non-directory with a directory"},
		"a directory in place of a link": {[]entry{dir("todir", 0o755)}, tree.ErrKind, "cannot overwrite a non-directory with a directory"},
		"a file as a parent":             {[]entry{file("old/x", "")}, tree.ErrKind, "not a directory"},
		"a name that leads out":          {[]entry{file("../x", "")}, tree.ErrInvalid, "leads out"},
		"a link target that leads out":   {[]entry{hardlink("x", "../../canary/shadow")}, tree.ErrInvalid, "leads out"},
		"a user id that wraps around":    {[]entry{{tar.Header{Name: "f", Uid: 1 << 32, Format: tar.FormatPAX}, ""}}, tree.ErrInvalid, "user or group id"},
		"a hard link to nothing":         {[]entry{hardlink("x", "nothing")}, unix.ENOENT, `hard link to "nothing"`},
		"a hard link to a directory":     {[]entry{hardlink("x", "dir")}, unix.EPERM, `hard link to "dir"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.mkdir("to/dir")
			p.write("to/old", "old")
			p.symlink("dir", "to/todir")
			before := list(t, p.path("to"), treetest.Options{Inodes: true})
			err := p.extract(pack(t, tt.in...), "/to", tree.ExtractOptions{KeepKind: true})
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Extract: %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(before, list(t, p.path("to"), treetest.Options{Inodes: true})); diff != "" {
				t.Errorf("tree changed (-before +after):\n%s", diff)
			}
			p.unharmed()
		})
	}
}

// A mount point must not be replaced: for a process outside of the container the
// kernel would do it, and the container would lose the mount.
func TestExtractKeepsMountPoints(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("etc", "vol")
	p.write("etc/hosts", "")
	for _, m := range [][2]string{{p.outside("shadow"), "etc/hosts"}, {p.outside("dir"), "vol"}} {
		if err := unix.Mount(m[0], p.path(m[1]), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(p.path(m[1]), 0); err != nil {
				t.Errorf("the mount of %s is gone: %v", m[1], err)
			}
		})
	}
	for _, e := range []entry{file("etc/hosts", "mine"), symlink("etc/hosts", "x"), file("vol", "mine")} {
		err := p.extract(pack(t, e), "/", tree.ExtractOptions{})
		if err == nil || !strings.Contains(err.Error(), "is a mount point, which cannot be replaced") {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	p.unharmed()
}

func TestExtractKeepsTimes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	at := func(e entry, sec int64) entry { e.ModTime = time.Unix(sec, 0); return e }
	stream := pack(t, at(dir("d", 0o755), 100), at(dir("d/e", 0o755), 200), at(file("d/e/f", "x"), 300), at(symlink("d/l", "x"), 400))
	if err := p.extract(stream, "/", tree.ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dir 0755 0:0 d mtime=100.000000000", "dir 0755 0:0 d/e mtime=200.000000000",
		`file 0644 0:0 d/e/f "x" mtime=300.000000000`, "symlink 0777 0:0 d/l -> x mtime=400.000000000",
	}
	if diff := cmp.Diff(want, list(t, p.root, treetest.Options{Times: true})); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// Whoever reads a file while it is replaced sees the old or the new one, and a
// stream that breaks off leaves the old one.
func TestExtractReplacesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("f", "old")
	p.write("g", "old")
	stream := pack(t, file("f", strings.Repeat("n", 1<<20)))
	for _, n := range []int{700, 512 + 1<<19} {
		if err := p.extract(stream[:n], "/", tree.ExtractOptions{}); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("after %d bytes: %v, want ErrInvalid", n, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := tree.Extract(ctx, bytes.NewReader(pack(t, file("g", "new"))), open(t, p.root), tree.ExtractOptions{}); !errors.Is(err, enough) {
		t.Errorf("cancelled: %v", err)
	}
	want := []string{`file 0644 0:0 f "old"`, `file 0644 0:0 g "old"`}
	if diff := cmp.Diff(want, list(t, p.root, treetest.Options{})); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestExtractReadsToTheEnd(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := bytes.NewReader(append(pack(t, file("f", "")), make([]byte, 10240)...))
	if err := tree.Extract(t.Context(), r, open(t, p.root), tree.ExtractOptions{}); err != nil || r.Len() != 0 {
		t.Errorf("%v, %d bytes are left: their writer would get SIGPIPE", err, r.Len())
	}
	broken := errors.New("connection reset")
	err := tree.Extract(t.Context(), io.MultiReader(strings.NewReader("x"), failing{broken}), open(t, p.root), tree.ExtractOptions{})
	if !errors.Is(err, broken) {
		t.Errorf("broken stream: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// On the host no parent may be a symbolic link: the stream names its directories.
func TestExtractToTheHostFollowsNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.symlink(p.outside("dir"), "link")
	err := tree.Extract(t.Context(), bytes.NewReader(pack(t, file("link/f", "evil"))), open(t, p.root), tree.ExtractOptions{})
	if !errors.Is(err, tree.ErrKind) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("Extract: %v", err)
	}
	p.unharmed()
	if _, err := os.Lstat(p.path("link")); err != nil {
		t.Error(err)
	}
}
