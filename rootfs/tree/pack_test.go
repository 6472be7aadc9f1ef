package tree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/tree"
)

// packed returns what Pack writes of the path name of the root.
func (p *place) packed(name string, opt tree.PackOptions) ([]byte, error) {
	p.t.Helper()
	fd, err := tree.Open(open(p.t, p.root), name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var b bytes.Buffer
	err = tree.Pack(p.t.Context(), &b, fd, opt)
	return b.Bytes(), err
}

// names lists the entries of a stream, each with what it is.
func names(t testing.TB, stream []byte) (lines []string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%c %s", h.Typeflag, h.Name)
		switch {
		case h.Linkname != "":
			line += " -> " + h.Linkname
		case len(content) > 0:
			line += fmt.Sprintf(" %q", content)
		}
		lines = append(lines, line)
	}
}

func TestPackNamesEntriesAfterTheTop(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("d/e")
	p.write("d/e/f", "x")
	p.symlink("d", "l")
	tests := map[string]struct {
		path, as string
		want     []string
	}{
		"a directory":               {"/d", "d", []string{"5 d/", "5 d/e/", `0 d/e/f "x"`}},
		"under another name":        {"/d", "n", []string{"5 n/", "5 n/e/", `0 n/e/f "x"`}},
		"its content":               {"/d", ".", []string{"5 ./", "5 ./e/", `0 ./e/f "x"`}},
		"the root":                  {"/", "/", []string{"5 /", "5 /d/", "5 /d/e/", `0 /d/e/f "x"`, "2 /l -> d"}},
		"without the top":           {"/", "", []string{"5 d/", "5 d/e/", `0 d/e/f "x"`, "2 l -> d"}},
		"a file":                    {"/d/e/f", "f", []string{`0 f "x"`}},
		"a link":                    {"/l", "l", []string{"2 l -> d"}},
		"a link with a slash":       {"/l/", "l", []string{"5 l/", "5 l/e/", `0 l/e/f "x"`}},
		"a link in the middle":      {"/l/e", "e", []string{"5 e/", `0 e/f "x"`}},
		"a link with a dot, inside": {"/l/.", ".", []string{"5 ./", "5 ./e/", `0 ./e/f "x"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stream, err := p.packed(tt.path, tree.PackOptions{Name: tt.as})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(t, stream)); diff != "" {
				t.Errorf("Pack (-want +got):\n%s", diff)
			}
		})
	}
}

// What Extract makes of Pack's stream is the same tree.
func TestPackLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("from/empty", "from/"+strings.Repeat("d/", 40), "to")
	p.write("from/big", strings.Repeat("0123456789", 100_000))
	p.write("from/"+strings.Repeat("n", 255), "")
	p.write("from/new\nline\xff", "x")
	p.symlink(strings.Repeat("long/", 60), "from/link")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Link(p.path("from/big"), p.path("from/hard")))
	must(unix.Mknod(p.path("from/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mkfifo(p.path("from/pipe"), 0o640))
	must(os.Lchown(p.path("from/link"), 1, 2))
	must(os.Chown(p.path("from/big"), 1<<30, 1<<30))
	must(os.Chmod(p.path("from/big"), 0o755|os.ModeSetuid|os.ModeSetgid))
	must(os.Chmod(p.path("from/empty"), 0o777|os.ModeSticky))
	must(unix.Lsetxattr(p.path("from/big"), "user.a", []byte("\x00\xff=\n"), 0))
	must(unix.Lsetxattr(p.path("from/empty"), "trusted.b", []byte("1"), 0))
	must(unix.UtimesNanoAt(unix.AT_FDCWD, p.path("from/null"), []unix.Timespec{{Sec: 5}, {Sec: -7}}, unix.AT_SYMLINK_NOFOLLOW))
	must(unix.UtimesNanoAt(unix.AT_FDCWD, p.path("from/big"), []unix.Timespec{{Sec: 5}, {Sec: 1 << 33}}, 0))
	stream, err := p.packed("/from", tree.PackOptions{Name: "/"})
	must(err)
	var read unix.Stat_t
	must(unix.Lstat(p.path("from/big"), &read))
	if read.Atim.Sec != 5 {
		t.Errorf("access time has changed to %v", read.Atim)
	}
	must(p.extract(stream, "/to", tree.ExtractOptions{}))
	look := func(dir string) []string { return list(t, p.path(dir), treetest.Options{}) }
	if diff := cmp.Diff(look("from"), look("to")); diff != "" {
		t.Errorf("copy (-want +got):\n%s", diff)
	}
	for _, name := range []string{"null", "big"} {
		var a, b unix.Stat_t
		must(unix.Lstat(p.path("from/"+name), &a))
		must(unix.Lstat(p.path("to/"+name), &b))
		if a.Mtim != b.Mtim {
			t.Errorf("%s: time is %v, want %v", name, b.Mtim, a.Mtim)
		}
	}
}

func TestPackLeavesOutWhatNoTarHolds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("f", "")
	if err := unix.Mknod(p.path("socket"), unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lsetxattr(p.path("f"), "user.a=b", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	stream, err := p.packed("/", tree.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0 f"}, names(t, stream)); diff != "" {
		t.Errorf("Pack (-want +got):\n%s", diff)
	}
}

func TestPackStaysOutOfClosedMounts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("proc", "dev", "data")
	for _, m := range [][2]string{{"proc", "proc"}, {"tmpfs", "dev"}, {"tmpfs", "data"}} {
		if err := unix.Mount(m[0], p.path(m[1]), m[0], 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(p.path(m[1]), unix.MNT_DETACH) })
	}
	p.write("dev/f", "")
	p.write("data/f", "")
	dev, err := tree.MountOf(open(t, p.path("dev")))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := p.packed("/", tree.PackOptions{Closed: map[uint64]bool{dev: true}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"5 data/", "0 data/f", "5 dev/", "5 proc/"}, names(t, stream)); diff != "" {
		t.Errorf("Pack (-want +got):\n%s", diff)
	}
}

// A log that is truncated while it is copied does not break the stream.
func TestPackFillsUpAFileThatShrinks(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const size = 4 << 20
	p.write("log", strings.Repeat("x", size))
	p.write("next", "y")
	var warnings []string
	w := &shrinker{file: p.path("log")}
	opt := tree.PackOptions{Warn: func(s string) { warnings = append(warnings, s) }}
	if err := tree.Pack(t.Context(), w, open(t, p.root), opt); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&w.Buffer)
	if h, err := r.Next(); err != nil || h.Size != size {
		t.Fatalf("first entry: %v, %v", h, err)
	}
	if h, err := r.Next(); err != nil || h.Name != "next" {
		t.Errorf("second entry: %v, %v", h, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `file "log" shrank`) {
		t.Errorf("warnings: %q", warnings)
	}
}

// shrinker truncates a file once some of it has been written.
type shrinker struct {
	bytes.Buffer
	file string
}

func (s *shrinker) Write(b []byte) (int, error) {
	if s.Len() > 1<<20 {
		_ = os.Truncate(s.file, 1<<20)
	}
	return s.Buffer.Write(b)
}

func TestPackEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("f", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := tree.Pack(ctx, io.Discard, open(t, p.root), tree.PackOptions{}); !errors.Is(err, enough) {
		t.Errorf("Pack: %v", err)
	}
}

func TestPackRefusesAnEndlessTree(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir(strings.Repeat("d/", 600))
	if _, err := p.packed("/", tree.PackOptions{}); err == nil || !strings.Contains(err.Error(), "levels deep") {
		t.Errorf("Pack: %v", err)
	}
}

func TestStatIsDockers(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("d/e")
	p.write("d/f", "four")
	p.symlink("../f", "d/e/link")
	p.symlink("/d/e/link", "chain")
	p.symlink("/d/gone/../x", "dangling")
	p.symlink("../../../../etc", "up")
	p.symlink("loop", "loop")
	tests := map[string]struct{ name, kind, target string }{
		"/":         {"/", "d", ""},
		"/.":        {".", "d", ""},
		"d":         {"d", "d", ""},
		"d/":        {"d", "d", ""},
		"/d/.":      {".", "d", ""},
		"/d/f":      {"f", "-", ""},
		"/d/e/link": {"link", "L", "/d/f"},
		"/chain":    {"chain", "L", "/d/f"},
		"/dangling": {"dangling", "L", "/d/x"},
		"/up":       {"up", "L", "/etc"},
	}
	root := open(t, p.root)
	for path, want := range tests {
		name := tree.Clean(path)
		fd, err := tree.Open(root, name, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		st, err := tree.Stat(root, fd, name)
		_ = unix.Close(fd)
		if got := [3]string{st.Name, st.Mode.String()[:1], st.LinkTarget}; err != nil || got != [3]string{want.name, want.kind, want.target} {
			t.Errorf("Stat(%q) = %v, %v, want %v", path, got, err, want)
		}
		if path == "/d/f" && st.Size != 4 {
			t.Errorf("size of %s is %d", path, st.Size)
		}
	}
	if _, err := tree.Follow(root, "/loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("Follow of a loop: %v", err)
	}
}
