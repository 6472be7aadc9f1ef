// Package compress recognises and undoes the compressions that layers and
// archives come in. Everything runs in this process: a decompressor found on some
// search path may belong to a container (CVE-2026-41567).
package compress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/ulikunitz/xz"
)

// Format is a compression format.
type Format string

// The formats that NewReader knows.
const (
	None  Format = "none"
	Gzip  Format = "gzip"
	Zstd  Format = "zstd"
	XZ    Format = "xz"
	Bzip2 Format = "bzip2"
)

const (
	sniffBytes = 6
	readBytes  = 128 << 10

	// How far gzip is read ahead: 1 MiB a stream.
	blockBytes  = 256 << 10
	blocksAhead = 4

	// What a zstd stream may demand of memory; --ultra --long=27 stays below.
	maxWindowBytes = 128 << 20
)

// Detect tells the format of a stream from its first bytes; six are enough.
func Detect(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippableFrame(head):
		return Zstd
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return XZ
	case bytes.HasPrefix(head, []byte("BZh")):
		return Bzip2
	}
	return None
}

// isSkippableFrame recognises metadata that zstd:chunked layers may begin with,
// see RFC 8878, section 3.1.2.
func isSkippableFrame(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// NewReader returns a reader of the uncompressed content of r, whatever its
// format. The caller closes it, which does not close r. Gzip and zstd are
// decompressed ahead in goroutines, which Close ends; it waits for a pending
// Read of r.
func NewReader(r io.Reader) (io.ReadCloser, Format, error) {
	br := bufio.NewReaderSize(r, readBytes)
	head, err := br.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, err
	}
	format := Detect(head)
	rc, err := open(br, format)
	if err != nil {
		return nil, format, fmt.Errorf("read %s stream: %w", format, err)
	}
	return rc, format, nil
}

func open(r *bufio.Reader, format Format) (io.ReadCloser, error) {
	switch format {
	case Gzip:
		return pgzip.NewReaderN(r, blockBytes, blocksAhead)
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case XZ:
		x, err := xz.NewReader(r)
		return io.NopCloser(x), err
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case None:
	}
	return io.NopCloser(r), nil
}

// gzipBlockBytes is what one processor compresses at a time. The same bytes give
// the same blob only as long as it stays the same.
const gzipBlockBytes = 1 << 20

// NewGzipWriter returns a writer that compresses to w on all processors. Its
// output depends on nothing but the input. The caller closes it, which does not
// close w.
func NewGzipWriter(w io.Writer) (io.WriteCloser, error) {
	z := pgzip.NewWriter(w)
	return z, z.SetConcurrency(gzipBlockBytes, max(2, runtime.GOMAXPROCS(0)))
}
