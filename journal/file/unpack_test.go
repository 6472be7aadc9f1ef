package file_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"github.com/cleat-project/cleat/journal"
)

// Older versions of systemd compressed with XZ and LZ4. The one at hand only
// reads those, so the test compresses the data objects of a file in place, and
// journalctl confirms that the result is a proper file.
func TestReadOldCompressions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		flag byte
		pack func(*testing.T, []byte) []byte
	}{
		"xz":  {1, packXZ},
		"lz4": {2, packLZ4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name+".journal")
			writeJournal(t, path, formats()["regular, unkeyed"], mixedEntries(300)...)
			if n := repack(t, path, tt.flag, tt.pack); n < 20 {
				t.Fatalf("only %d fields were compressed", n)
			}
			compare(t, "all", []string{"--file=" + path}, open(t, path), journal.Query{Tail: -1})
		})
	}
}

// repack compresses in place every data object of the file that gets smaller by
// it, and returns their number.
func repack(t *testing.T, path string, flag byte, pack func(*testing.T, []byte) []byte) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[12] |= flag // incompatible flags
	const payload = 64
	n := 0
	le := binary.LittleEndian
	last := le.Uint64(b[136:])
	for off := le.Uint64(b[88:]); off <= last; {
		size := le.Uint64(b[off+8:])
		if b[off] == 1 && size > payload+100 {
			raw := b[off+payload : off+size]
			if packed := pack(t, raw); len(packed) > 0 && len(packed) < len(raw) {
				copy(raw, packed)
				le.PutUint64(b[off+8:], payload+uint64(len(packed)))
				b[off+1] = flag
				n++
			}
		}
		off += (size + 7) &^ 7
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

func packXZ(t *testing.T, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.WriterConfig{NoCheckSum: true, DictCap: 1 << 20}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packLZ4(t *testing.T, p []byte) []byte {
	t.Helper()
	out := make([]byte, 8+lz4.CompressBlockBound(len(p)))
	binary.LittleEndian.PutUint64(out, uint64(len(p)))
	n, err := lz4.CompressBlock(p, out[8:], nil)
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 { // does not get smaller
		return nil
	}
	return out[:8+n]
}
