package layer_test

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/layer"
)

// fuzzParts are what the names and targets of fuzzed entries are made of.
var fuzzParts = []string{
	"a", "b", "c", "..", ".", "", "canary", "dir", "f", "layer", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh...", ".wh.",
	".wh..wh.plnk", "new\nline", "\xff", strings.Repeat("x", 255), strings.Repeat("d/", 60), "/proc/self/cwd",
}

var fuzzTypes = []byte{
	tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo,
}

var fuzzXattrs = []string{
	"trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.metacopy", "security.selinux", "user.a", "trusted.a", "security.capability",
}

// script reads the decisions for one tar from the fuzzer's bytes.
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

func (s *script) header() *tar.Header {
	h := &tar.Header{Typeflag: fuzzTypes[s.next()%len(fuzzTypes)], Name: s.name(), Mode: int64(s.next()) << 4, Format: tar.FormatPAX}
	if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
		h.Linkname = s.name()
	}
	switch n := s.next(); {
	case n < 40:
		h.PAXRecords = map[string]string{"SCHILY.xattr." + fuzzXattrs[n%len(fuzzXattrs)]: "y"}
	case n < 50:
		h.Uid, h.Gid = n, n<<26
	case n < 60:
		h.Devmajor, h.Devminor = int64(n-50), int64(n-50)<<18
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(s.next() % 64)
	}
	return h
}

// tar makes a well-formed tar of hostile entries.
func (s script) tar() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for len(s) > 0 {
		h := s.header()
		if w.WriteHeader(h) != nil {
			continue // not expressible
		}
		_, _ = io.CopyN(w, strings.NewReader(strings.Repeat("z", 64)), h.Size) // into memory
	}
	_ = w.Close() // into memory
	return b.Bytes()
}

// FuzzApply unpacks well-formed tars of hostile entries, which a fuzzer of raw
// bytes would not find, and looks at what is outside.
func FuzzApply(f *testing.F) {
	testenv.NeedRoot(f)
	f.Add([]byte{4, 0, 0, 0, 1, 3, 6, 0, 0, 0, 1, 0, 8, 0, 99, 7}) // link a to ../canary/…, file a/f
	f.Add([]byte{2, 0, 0, 7, 1, 0, 0, 10, 9, 99, 1, 2, 0, 0, 1, 1})
	f.Add([]byte("\x04\x00\x00\x00\x00\x03c\x06\x01\x01\x00\x01\x03\x03c\x00\x01\x01\x06\x00c"))
	f.Fuzz(func(t *testing.T, data []byte) { unpackAnything(t, script(data).tar()) })
}

// FuzzApplyBytes unpacks anything, for the sake of the tar reader.
func FuzzApplyBytes(f *testing.F) {
	testenv.NeedRoot(f)
	f.Add(script("\x00\x00\x01\x00\x00\x00\x01\x02\x03\x04").tar())
	f.Add(rawHeader("pax", 'x', 1<<40))
	f.Add(append(rawHeader("f", 'S', 512), make([]byte, 1024)...))
	f.Fuzz(unpackAnything)
}

func unpackAnything(t *testing.T, data []byte) {
	c := newCanary(t)
	opts := layer.Options{MaxBytes: 1 << 20, MaxSparseBytes: 1 << 20, MaxEntries: 200}
	stats, err := layer.Apply(t.Context(), bytes.NewReader(data), c.layer, opts)
	if err == nil && (stats.Bytes > opts.MaxBytes || stats.Entries > opts.MaxEntries) {
		t.Errorf("%+v exceeds %+v", stats, opts)
	}
	c.check(t)
	if err := rootfs.RemoveAll(c.layer); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
}
