package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// isSparse reports whether a file's size may exceed what the tar has of it. The
// reader of archive/tar delivers its holes as zeros.
func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"} {
		if _, ok := hdr.PAXRecords[key]; ok {
			return true
		}
	}
	return false
}

// write fills the new file fd with content.
func (u *unpacker) write(ctx context.Context, fd int, hdr *tar.Header, content io.Reader) error {
	sparse := isSparse(hdr)
	for left := hdr.Size; left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		chunk := u.buf[:min(left, bufferSize)]
		if _, err := io.ReadFull(content, chunk); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return readError("read content", err)
		}
		err := writeChunk(fd, chunk, sparse)
		if err != nil {
			return wrap("write file", err)
		}
		left -= int64(len(chunk))
		u.stats.Bytes += int64(len(chunk))
	}
	if !sparse {
		return nil
	}
	return wrap("set size", unix.Ftruncate(fd, hdr.Size)) // it may end in a hole
}

// block is the size of the smallest hole of common filesystems.
const block = 4096

var zeros [block]byte

// writeChunk writes all of chunk, leaving holes for blocks of zeros if the file
// is sparse.
func writeChunk(fd int, chunk []byte, sparse bool) error {
	if !sparse {
		return writeAll(fd, chunk)
	}
	for len(chunk) > 0 {
		n := run(chunk, false)
		if err := writeAll(fd, chunk[:n]); err != nil {
			return err
		}
		chunk = chunk[n:]
		n = run(chunk, true)
		if n > 0 {
			if _, err := unix.Seek(fd, int64(n), io.SeekCurrent); err != nil {
				return err
			}
		}
		chunk = chunk[n:]
	}
	return nil
}

// run is the length of the blocks that chunk begins with and that are all zeros
// or, if zero is false, not all zeros.
func run(chunk []byte, zero bool) int {
	n := 0
	for n < len(chunk) {
		b := chunk[n:min(n+block, len(chunk))]
		if bytes.Equal(b, zeros[:len(b)]) != zero {
			break
		}
		n += len(b)
	}
	return n
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("wrote nothing: %w", io.ErrShortWrite)
		}
		data = data[n:]
	}
	return nil
}
