package layer_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/layer"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// canary is a place for a layer beside files that must not change.
type canary struct {
	layer string // the empty directory to unpack into, base/layer
	base  string
	files []string // the description of base/canary and of the machine's files
}

const canaryFile = "canary/etc/shadow"

func newCanary(t testing.TB) *canary {
	t.Helper()
	base := t.TempDir()
	c := &canary{layer: filepath.Join(base, "layer"), base: base}
	for _, d := range []string{"layer", "canary/etc", "canary/dir"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{canaryFile, "canary/dir/f"} {
		if err := os.WriteFile(filepath.Join(base, f), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.files = c.look(t)
	return c
}

// look describes everything that a layer must leave alone. The base directory
// itself is looked at by its names: they show what was made beside the layer.
func (c *canary) look(t testing.TB) []string {
	t.Helper()
	seen := treetest.List(t, filepath.Join(c.base, "canary"), treetest.Options{Times: true, Inodes: true})
	names, err := os.ReadDir(c.base)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		seen = append(seen, n.Name())
	}
	for _, path := range []string{"/etc/passwd", "/proc/sys/kernel/core_pattern"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintf("%s %x", path, sha256.Sum256(data)))
	}
	return seen
}

// check fails the test if anything but the layer changed, or if the layer has
// something that no layer may have.
func (c *canary) check(t testing.TB) {
	t.Helper()
	if diff := cmp.Diff(c.files, c.look(t)); diff != "" {
		t.Errorf("the layer changed what is outside (-before +after):\n%s", diff)
	}
	secret, err := os.Stat(filepath.Join(c.base, canaryFile))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.Walk(c.layer, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(info.Name(), ".wh.") {
			t.Errorf("%q was made", path)
		}
		if os.SameFile(info, secret) {
			t.Errorf("%q is a link to a file outside", path)
		}
		var names [4096]byte
		n, err := unix.Llistxattr(path, names[:])
		if err != nil {
			return err
		}
		rest := strings.ReplaceAll(string(names[:n]), "trusted.overlay.opaque\x00", "")
		if strings.Contains(rest, ".overlay.") {
			t.Errorf("%q has forged attributes %q", path, rest)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Each case is a known failure of an unpacker. "CANARY" in a name or target is
// replaced by the absolute path of a directory outside the layer.
func TestApplyHostile(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	tests := map[string]struct {
		in      []entry
		invalid bool     // refused with ErrInvalid
		want    []string // else the names it makes, in order
	}{
		"CVE-2014-9356 name above the layer":           {[]entry{file("../canary/dir/f", "evil")}, true, nil},
		"CVE-2014-9356 name above, hidden in the name": {[]entry{file("a/b/../../../canary/dir/f", "evil")}, true, nil},
		"CVE-2014-9356 only dots":                      {[]entry{dir("..", 0o777)}, true, nil},
		"CVE-2014-9356 absolute name":                  {[]entry{file("/CANARY/dir/x", "evil")}, false, nil},
		"CVE-2014-9356 absolute name with dots":        {[]entry{file("/../../x", "")}, false, []string{"x"}},
		"CVE-2014-6407 symbolic link as parent": {
			[]entry{symlink("a", "CANARY/dir"), file("a/f", "evil")}, true, nil,
		},
		"CVE-2014-6407 relative symbolic link as parent": {
			[]entry{symlink("a", "../canary/dir"), file("a/f", "evil")}, true, nil,
		},
		"CVE-2014-6407 hard link to outside":          {[]entry{hardlink("a", "../"+canaryFile), file("a", "evil")}, true, nil},
		"CVE-2014-6407 hard link to absolute outside": {[]entry{hardlink("a", "CANARY/etc/shadow")}, true, nil},
		"CVE-2018-15664 hard link through a symbolic link": {
			[]entry{symlink("s", "../canary/etc"), hardlink("a", "s/shadow")}, true, nil,
		},
		"CVE-2018-15664 chain of links": {
			[]entry{symlink("a", "b"), symlink("b", "c"), symlink("c", ".."), file("a/canary/dir/f", "evil")}, false,
			[]string{"a", "b", "c", "canary", "canary/dir", "canary/dir/f"},
		},
		"CVE-2018-15664 link to a descriptor": {
			[]entry{symlink("a", "/proc/self/cwd"), file("a/f", "evil")}, true, nil,
		},
		"CVE-2019-14271 link loop as parent": {[]entry{symlink("a", "b"), symlink("b", "a"), file("a/f", "")}, true, nil},
		"CVE-2021-32760 directory entry over a link": {
			[]entry{symlink("a", "CANARY/dir"), owner(dir("a", 0o777), 1, 1)}, false, []string{"a"},
		},
		"CVE-2021-32760 file entry over a link": {
			[]entry{symlink("a", "../"+canaryFile), owner(file("a", "evil"), 1, 1)}, false, []string{"a"},
		},
		"CVE-2021-32760 device entry over a link": {
			[]entry{symlink("a", "../"+canaryFile), {tar.Header{Name: "a", Typeflag: tar.TypeFifo, Mode: 0o777, Uid: 1}, ""}}, false, []string{"a"},
		},
		"CVE-2021-41089 mode and owner through a hard link to a link": {
			[]entry{symlink("s", "../"+canaryFile), owner(with(hardlink("h", "s"), func(h *tar.Header) { h.Mode = 0o777 }), 1, 1)},
			false, []string{"h", "s"},
		},
		"CVE-2021-41089 attributes through a link": {
			[]entry{xattr(symlink("s", "../"+canaryFile), "trusted.x", "1")}, false, []string{"s"},
		},
		"CVE-2025-47290 directory swapped for a link between its entries": {
			[]entry{dir("a", 0o755), file("a/x", ""), symlink("a", "../canary/dir"), file("a/f", "evil")}, true, nil,
		},
		"CVE-2025-47290 link swapped for a directory and back": {
			[]entry{symlink("a", "../canary"), dir("a", 0o755), dir("a/dir", 0o755), file("a/dir/g", ""), symlink("a/dir", "../../canary/dir"), file("a/dir/f", "evil")},
			true, nil,
		},
		"CVE-2025-47290 parent removed by a file": {[]entry{file("a/x", ""), file("a", ""), file("a/y", "")}, true, nil},
		"CVE-2022-23648 whiteout above the layer": {[]entry{file("../.wh.canary", "")}, true, nil},
		"whiteout of the directory above":         {[]entry{file("a/.wh...", "")}, true, nil},
		"whiteout of the directory itself":        {[]entry{file("a/.wh..", "")}, true, nil},
		"whiteout of nothing":                     {[]entry{file("a/.wh.", "")}, true, nil},
		"whiteout through a link":                 {[]entry{symlink("a", "../canary"), file("a/.wh.dir", "")}, true, nil},
		"opaque mark above the layer":             {[]entry{file("../.wh..wh..opq", "")}, true, nil},
		"opaque mark through a link":              {[]entry{symlink("a", "CANARY"), file("a/.wh..wh..opq", "")}, true, nil},
		"whiteout as a directory":                 {[]entry{file(".wh.a/f", "")}, true, nil},
		"hard link to a whiteout's name":          {[]entry{file(".wh.a", ""), hardlink("b", ".wh.a")}, true, nil},
		"hard link to a directory":                {[]entry{dir("a", 0o755), hardlink("b", "a")}, true, nil},
		"hard link to itself":                     {[]entry{file("a", ""), hardlink("a", "./a")}, true, nil},
		"hard link to the layer":                  {[]entry{hardlink("a", ".")}, true, nil},
		"hard link to a lower layer":              {[]entry{hardlink("a", "bin/sh")}, true, nil},
		"the layer's directory as a link":         {[]entry{symlink("./", "../canary")}, true, nil},
		"the layer's directory as a file":         {[]entry{file(".", "evil")}, true, nil},
		"CVE-2024-40635 user beyond int32":        {[]entry{owner(file("a", ""), 1<<31, 0)}, true, nil},
		"CVE-2024-40635 group beyond uint32":      {[]entry{owner(file("a", ""), 0, 1<<32)}, true, nil},
		"CVE-2024-40635 user -1":                  {[]entry{with(owner(file("a", ""), -1, 0), func(h *tar.Header) { h.Format = tar.FormatGNU })}, true, nil},
		"device numbers out of range":             {[]entry{{tar.Header{Name: "a", Typeflag: tar.TypeBlock, Devmajor: 1 << 40, Format: tar.FormatGNU}, ""}}, true, nil},
		"forged redirect of overlayfs":            {[]entry{xattr(dir("a", 0o755), "trusted.overlay.redirect", "/../canary")}, false, []string{"a"}},
		"forged metacopy of overlayfs":            {[]entry{xattr(xattr(file("a", ""), "trusted.overlay.metacopy", ""), "user.overlay.metacopy", "")}, false, []string{"a"}},
		"forged label of a security module":       {[]entry{xattr(file("a", ""), "security.apparmor", "unconfined")}, false, []string{"a"}},
		"deep nesting":                            {[]entry{dir(strings.Repeat("a/", 1000), 0o755)}, true, nil},
		"endless name":                            {[]entry{file(strings.Repeat("a/..", 2000), "")}, true, nil},
		"long part of a name":                     {[]entry{file(strings.Repeat("a", 256), "")}, true, nil},
		"link to nothing":                         {[]entry{symlink("a", "")}, true, nil},
		"endless link":                            {[]entry{symlink("a", strings.Repeat("b", 5000))}, true, nil},
		"unknown type":                            {[]entry{{tar.Header{Name: "a", Typeflag: 'V'}, ""}}, true, nil},
		"names that differ in case or form only": {
			[]entry{file("A", "1"), file("a", "2"), file("\u00e9", "3"), file("e\u0301", "4")}, false,
			[]string{"A", "a", "e\u0301", "\u00e9"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCanary(t)
			for i := range tt.in {
				outside := filepath.Join(c.base, "canary")
				tt.in[i].Name = strings.ReplaceAll(tt.in[i].Name, "CANARY", strings.TrimPrefix(outside, "/"))
				tt.in[i].Linkname = strings.ReplaceAll(tt.in[i].Linkname, "CANARY", outside)
			}
			_, err := layer.Apply(t.Context(), bytes.NewReader(pack(t, tt.in)), c.layer, layer.Options{})
			c.check(t)
			if tt.invalid {
				if !errors.Is(err, layer.ErrInvalid) || !strings.Contains(err.Error(), "entry \"") {
					t.Errorf("Apply: %v, want ErrInvalid and the name of the entry", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("Apply: %v", err)
			}
			if tt.want == nil {
				return
			}
			if diff := cmp.Diff(tt.want, names(t, c.layer)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

// names lists the names below dir.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if path != dir {
			list = append(list, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A tree deeper than any path is long can be made through links, and must not
// stop the layer from being replaced or removed.
func TestApplyDeepThroughLinks(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	c := newCanary(t)
	deep := strings.Repeat("d/", 400)
	var in []entry
	at := "top/"
	for i := range 6 {
		in = append(in, dir(at+deep, 0o755))
		down := fmt.Sprintf("l%d", i)
		in = append(in, symlink(down, at+deep))
		at = down + "/"
	}
	in = append(in, file("top", "replaced"))
	if _, err := layer.Apply(t.Context(), bytes.NewReader(pack(t, in)), c.layer, layer.Options{}); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	c.check(t)
	if err := rootfs.RemoveAll(c.layer); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
}

func TestApplyLimits(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	files := []entry{file("a", "12345"), file("b", "12345"), file("c", "")}
	tests := map[string]struct {
		in      []byte
		opts    layer.Options
		limited bool
	}{
		"as many entries as allowed":     {pack(t, files), layer.Options{MaxEntries: 3}, false},
		"an entry more":                  {pack(t, files), layer.Options{MaxEntries: 2}, true},
		"as many bytes as allowed":       {pack(t, files), layer.Options{MaxBytes: 10}, false},
		"a byte more":                    {pack(t, files), layer.Options{MaxBytes: 9}, true},
		"bytes after the end count":      {append(pack(t, files), make([]byte, 200<<10)...), layer.Options{MaxBytes: 1000}, true},
		"an exabyte of hole":             {sparseTar(t, 1<<60), layer.Options{}, true},
		"a hole over its own limit":      {sparseTar(t, 2<<20), layer.Options{MaxSparseBytes: 1 << 20}, true},
		"a hole within its limit":        {sparseTar(t, 2<<20), layer.Options{MaxSparseBytes: 2 << 20}, false},
		"a header that claims a lot":     {claim(t, 1<<50), layer.Options{}, true},
		"a header that claims a bit":     {claim(t, 1<<20), layer.Options{}, true},
		"CVE-2025-58183 endless records": {paxBomb(), layer.Options{}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCanary(t)
			_, err := layer.Apply(t.Context(), bytes.NewReader(tt.in), c.layer, tt.opts)
			c.check(t)
			refused := errors.Is(err, layer.ErrLimit) || errors.Is(err, layer.ErrInvalid)
			if tt.limited != refused || !refused && err != nil {
				t.Errorf("Apply: %v, want refused: %v", err, tt.limited)
			}
		})
	}
}

// claim is a tar whose only header promises size bytes that do not follow.
func claim(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// paxBomb is an extended header of 2 GiB, as far as its own header says.
func paxBomb() []byte {
	return append(rawHeader("pax", 'x', 2<<30), make([]byte, 1<<20)...)
}

// sparseTar is a PAX 1.0 sparse file of size bytes that has only its last one.
func sparseTar(t *testing.T, size int64) []byte {
	t.Helper()
	var records string
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=hole", fmt.Sprintf("GNU.sparse.realsize=%d", size)} {
		records += fmt.Sprintf("%02d %s\n", len(kv)+4, kv) // its length counts as well
	}
	sparseMap := fmt.Sprintf("1\n%d\n1\n", size-1)
	out := append(rawHeader("pax", 'x', int64(len(records))), padded(records)...)
	out = append(out, rawHeader("hole", '0', 512+1)...)
	out = append(out, padded(sparseMap)...)
	out = append(out, padded("x")...)
	return append(out, make([]byte, 1024)...)
}

func padded(s string) []byte {
	return append([]byte(s), make([]byte, (512-len(s)%512)%512)...)
}

// rawHeader is a ustar header as archive/tar would not write it.
func rawHeader(name string, typeflag byte, size int64) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	h[156] = typeflag
	copy(h[257:], "ustar\x0000")
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}
