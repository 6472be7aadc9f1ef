package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/rootfs/tree"
)

// Each case is a known failure of cp. CANARY stands for a directory of the host
// outside of the container's root.
func TestExtractHostile(t *testing.T) {
	t.Parallel()
	tests := map[string][]entry{
		"CVE-2018-15664 a link of the container as parent":  {file("out/f", "evil"), file("out/new", "evil")},
		"CVE-2018-15664 a link of the stream as parent":     {symlink("l", "CANARY"), file("l/f", "evil"), file("l/new", "evil")},
		"CVE-2018-15664 a link to a file in its place":      {file("outfile", "evil")},
		"CVE-2019-10152 a link with dots as parent":         {symlink("l", strings.Repeat("../", 40)+"CANARY"), file("l/f", "evil")},
		"CVE-2019-10152 a link becomes a directory":         {symlink("l", "CANARY"), dir("l", 0o777), file("l/new", "evil")},
		"CVE-2021-41089 hard link to a file outside":        {hardlink("h", "../../canary/shadow"), {tar.Header{Name: "h", Mode: 0o777}, "evil"}},
		"CVE-2021-41089 hard link to an absolute name":      {hardlink("h", "CANARY/shadow"), {tar.Header{Name: "h", Mode: 0o777}, "evil"}},
		"CVE-2021-41089 hard link through a link":           {symlink("l", "CANARY"), hardlink("h", "l/shadow"), {tar.Header{Name: "h", Mode: 0o777}, "evil"}},
		"CVE-2021-41089 hard link to a link, then its mode": {symlink("l", "CANARY/shadow"), hardlink("h", "l"), {tar.Header{Name: "h", Mode: 0o777}, "evil"}},
		"CVE-2021-41089 mode of a link's target":            {symlink("l", "CANARY/dir"), dir("l", 0o777)},
		"CVE-2021-32760 mode of a link of the container":    {dir("out", 0o777)},
		"a device in place of a link":                       {symlink("l", "CANARY/shadow"), {tar.Header{Name: "l", Typeflag: tar.TypeChar, Mode: 0o777, Devmajor: 1, Devminor: 3}, ""}},
		"a link of procfs as parent":                        {symlink("l", "/proc/self/cwd"), file("l/new", "evil"), symlink("r", "/proc/self/root"), file("r/new", "evil")},
		"a name that leads out":                             {file("../../canary/dir/f", "evil")},
		"a name with dots inside":                           {file("a/../../../canary/dir/f", "evil")},
		"an absolute name":                                  {file("CANARY/dir/f", "evil")},
	}
	for name, in := range tests {
		for _, keep := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				p.mkdir("to")
				p.symlink(p.outside("dir"), "to/out")
				p.symlink(p.outside("shadow"), "to/outfile")
				canary := p.outside("")
				for i, e := range in {
					e.Name, e.Linkname = strings.ReplaceAll(e.Name, "CANARY", canary), strings.ReplaceAll(e.Linkname, "CANARY", canary)
					// One that is refused must not keep the next from being tried.
					err := p.extract(pack(t, e), "/to", tree.ExtractOptions{KeepKind: keep})
					t.Logf("entry %d: %v", i, err)
					p.unharmed()
				}
				p.noSecret()
			})
		}
	}
}

// noSecret fails the test if a file of the canary can be read in the root.
func (p *place) noSecret() {
	p.t.Helper()
	shadow, err := os.Stat(p.outside("shadow"))
	if err != nil {
		p.t.Fatal(err)
	}
	err = filepath.Walk(p.root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if os.SameFile(info, shadow) {
			p.t.Errorf("%s is a link to a file outside", path)
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
}

const races = 150

// A container that exchanges a directory and a link to the host's again and
// again sees nothing of the host, and the host nothing of the copy.
func TestCVE_2018_15664_Racer(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("d/sub", "to")
	p.write("d/f", "mine")
	p.symlink(p.outside("dir"), "l")
	p.symlink(p.outside("shadow"), "d/sub/l")
	p.write("d/sub/f", "mine")
	stopDir, stopFile := p.swap("d", "l"), p.swap("d/sub/f", "d/sub/l")
	defer stopDir()
	defer stopFile()
	stream := pack(t, dir("d", 0o777), file("d/f", "copied"), file("d/new", "copied"), hardlink("d/hard", "d/f"), symlink("d/link", "x"))
	read, written := 0, 0
	for range races {
		for _, path := range []string{"/", "/d", "/d/", "/d/f", "/d/sub/f", "/l/f"} {
			out, err := p.packed(path, tree.PackOptions{Name: "x"})
			if bytes.Contains(out, []byte(secret)) {
				t.Fatalf("the copy of %s has the host's file", path)
			}
			if err == nil {
				read++
			}
		}
		for _, to := range []string{"/", "/d"} {
			if p.extract(stream, to, tree.ExtractOptions{}) == nil {
				written++
			}
		}
	}
	t.Logf("%d copies out and %d in went through", read, written)
	if read == 0 || written == 0 {
		t.Error("nothing was ever copied: this proves nothing")
	}
	p.unharmed()
}

// What was a file when it was looked at may be a link, a pipe or a device when it
// is opened (CVE-2019-10152, CVE-2023-0778): neither is it followed, nor does
// opening it block or have effects.
func TestCVE_2019_10152_FileBecomesSomethingElse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("d")
	p.write("d/f", "mine")
	p.symlink(p.outside("shadow"), "d/l")
	if err := unix.Mkfifo(p.path("d/p"), 0o600); err != nil {
		t.Fatal(err)
	}
	stops := []func(){p.swap("d/f", "d/l"), p.swap("d/f", "d/p")}
	for range races {
		out, err := p.packed("/d", tree.PackOptions{Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, []byte(secret)) {
			t.Fatal("the copy has the host's file")
		}
	}
	for _, stop := range stops {
		stop()
	}
}

func TestExtractReportsRubbish(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, rubbish := range []string{"no tar at all", strings.Repeat("x", 2048)} {
		err := tree.Extract(t.Context(), strings.NewReader(rubbish), open(t, p.root), tree.ExtractOptions{})
		if !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("Extract: %v, want ErrInvalid", err)
		}
	}
}

// FuzzExtract unpacks streams of hostile entries. Whatever they say, nothing
// outside of the root changes.
func FuzzExtract(f *testing.F) {
	f.Add([]byte("x"), true)
	f.Add(pack(f, symlink("l", "/"), file("l/etc/passwd", "evil"), hardlink("h", "l"), dir("../x", 0o777)), false)
	f.Add(pack(f, dir("d", 0o755), file("d/f", "x"), file("d", "x"), dir("d/f/g", 0o700)), true)
	f.Add(pack(f, entry{tar.Header{Name: "n", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}, ""}), true)
	f.Fuzz(func(t *testing.T, stream []byte, keep bool) {
		p := newPlace(t)
		p.mkdir("to/d")
		p.symlink(p.outside("dir"), "to/l")
		p.symlink("/", "to/r")
		root := open(t, p.root)
		opt := tree.ExtractOptions{KeepKind: keep, Harmless: keep, Root: root, Path: "/to"}
		err := tree.Extract(t.Context(), io.LimitReader(bytes.NewReader(stream), 1<<20), open(t, p.path("to")), opt)
		if err != nil && strings.Contains(err.Error(), "bad file descriptor") {
			t.Errorf("lost a descriptor: %v", err)
		}
		p.unharmed()
	})
}
