package compress_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

func xzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestNewReader(t *testing.T) {
	text := []byte(strings.Repeat("some text that compresses well. ", 50_000))
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}, imagetest.Zstd(t, text)...)
	tests := map[string]struct {
		data   []byte
		format compress.Format
	}{
		"none":                         {text, compress.None},
		"gzip":                         {imagetest.Gzip(t, text), compress.Gzip},
		"gzip in members":              {append(imagetest.Gzip(t, text[:9]), imagetest.Gzip(t, text[9:])...), compress.Gzip},
		"zstd":                         {imagetest.Zstd(t, text), compress.Zstd},
		"zstd after a skippable frame": {skippable, compress.Zstd},
		"xz":                           {xzipped(t, text), compress.XZ},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, format, err := compress.NewReader(bytes.NewReader(tt.data))
			if err != nil || format != tt.format {
				t.Fatalf("format %s, %v", format, err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if tt.format == compress.None {
				return
			}
			r, _, err = compress.NewReader(bytes.NewReader(tt.data[:len(tt.data)-10]))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if err == nil {
				t.Error("a cut-off stream was read to its end")
			}
		})
	}
}

func TestBzip2(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "bzip2", "-c")
	cmd.Stdin = strings.NewReader("text")
	data, err := cmd.Output()
	if err != nil {
		t.Skip("bzip2 is not installed")
	}
	r, format, err := compress.NewReader(bytes.NewReader(data))
	if err != nil || format != compress.Bzip2 {
		t.Fatalf("format %s, %v", format, err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "text" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestShortStreams(t *testing.T) {
	for _, s := range []string{"", "a", "\x1f", "BZ"} {
		r, format, err := compress.NewReader(strings.NewReader(s))
		if err != nil || format != compress.None {
			t.Errorf("%q: %s, %v", s, format, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != s {
			t.Errorf("%q: read %q, %v", s, got, err)
		}
	}
}

// FuzzNewReader feeds damaged streams; at most 1 MiB of each is read.
func FuzzNewReader(f *testing.F) {
	text := []byte("some text, some text, some text")
	f.Add(imagetest.Gzip(f, text))
	f.Add(imagetest.Zstd(f, text))
	f.Add(xzipped(f, text))
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, format, err := compress.NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		got, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if format == compress.None && (err != nil || !bytes.Equal(got, data)) {
			t.Fatalf("plain data changed: %v", err)
		}
		_ = r.Close() // a damaged stream may report its error here too
	})
}
