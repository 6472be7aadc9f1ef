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

// What the names and targets of fuzzed entries are made of.
var fuzzParts = []string{
	"a", "b", "l", "r", "d", "..", ".", "", "f", "canary", "shadow", "to", "new\nline", "\xff", strings.Repeat("x", 255), "/proc/self/cwd", ".wh.a",
}

var fuzzTypes = []byte{
	tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeLink, tar.TypeLink, tar.TypeChar, tar.TypeFifo, 'Z',
}

// script reads the decisions for one stream from the fuzzer's bytes.
type script []byte

func (s *script) next() int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b)
}

func (s *script) name() string {
	n := s.next()
	parts := make([]string, 1+n%4)
	for i := range parts {
		parts[i] = fuzzParts[s.next()%len(fuzzParts)]
	}
	name := strings.Join(parts, "/")
	if n&0x40 != 0 {
		name = "/" + name
	}
	return name
}

// stream makes a tar of hostile entries.
func (s script) stream() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for len(s) > 0 {
		h := &tar.Header{Typeflag: fuzzTypes[s.next()%len(fuzzTypes)], Name: s.name(), Mode: int64(s.next()) << 4, Format: tar.FormatPAX}
		switch h.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname = s.name()
		case tar.TypeReg:
			h.Size = int64(s.next() % 64)
		case tar.TypeChar:
			h.Devmajor, h.Devminor = int64(s.next()%3), int64(s.next()%8)
		}
		if w.WriteHeader(h) != nil {
			continue // not expressible
		}
		_, _ = w.Write(make([]byte, h.Size))
	}
	_ = w.Flush() // without an end, which is allowed
	return b.Bytes()
}

// FuzzExtract unpacks streams of hostile entries into a container and onto the
// host. Whatever they say, nothing outside of the root changes.
func FuzzExtract(f *testing.F) {
	f.Add([]byte("\x04\x00\x02\x00\x41\x09"), true)
	f.Add([]byte("\x00\x01\x02\x08\x00\x05\x06\x00\x00\x00\x02\x02\x0a"), false)
	f.Add([]byte("\x02\x00\x04\x00\x00\x01\x04\x08\x00\x01\x02\x00\x04"), true)
	f.Fuzz(func(t *testing.T, b []byte, container bool) {
		p := newPlace(t)
		p.mkdir("to/d")
		p.symlink(p.outside("dir"), "to/l")
		p.symlink("/", "to/r")
		opt := tree.ExtractOptions{KeepKind: len(b)%2 == 0, Harmless: len(b)%3 == 0}
		if container {
			opt.Root, opt.Path = open(t, p.root), "/to"
		}
		err := tree.Extract(t.Context(), bytes.NewReader(script(b).stream()), open(t, p.path("to")), opt)
		if errors.Is(err, unix.EBADF) {
			t.Errorf("lost a descriptor: %v", err)
		}
		p.unharmed()
	})
}

// FuzzExtractBytes unpacks what need not be a tar.
func FuzzExtractBytes(f *testing.F) {
	f.Add(pack(f, symlink("l", "/"), file("l/x", "y")))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPlace(t)
		_ = tree.Extract(t.Context(), io.LimitReader(bytes.NewReader(b), 64<<10), open(t, p.root), tree.ExtractOptions{})
		p.unharmed()
	})
}
