// Package layer unpacks the layers of images: tar streams made by strangers.
//
// A layer is unpacked alone, into a directory of its own, in the form in which
// overlayfs wants it: what the layer deletes is a character device 0:0, what it
// replaces as a whole is marked with trusted.overlay.opaque. The meaning of a
// layer is that of the OCI image specification, "Image Layer Filesystem
// Changeset"; where it is silent, dockerd's behaviour counts.
//
// Nothing outside the directory is ever written to or read, whatever the tar
// says: every path is resolved by openat2(2) within the directory, and the last
// element is never followed if it is a link.
package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
	"golang.org/x/sys/unix"
)

// ErrInvalid is wrapped by errors that are the layer's own fault: a broken tar,
// or an entry that no honest tool writes.
var ErrInvalid = errors.New("invalid layer")

// ErrLimit is wrapped by the error for a layer that exceeds one of Options.
var ErrLimit = errors.New("layer exceeds a limit")

// Options limit what a layer may cost. The zero value suits every honest image.
type Options struct {
	MaxBytes   int64 // content of all files with their holes, and padding, in bytes; 0 means 1 TiB
	MaxEntries int64 // entries of the tar; 0 means 4 million

	// MaxSparseBytes is the largest sum of the sizes of sparse files, in bytes:
	// a tar of 1 KiB can claim any size. 0 means 64 GiB.
	MaxSparseBytes int64
}

func (o Options) withDefaults() Options {
	o.MaxBytes = orDefault(o.MaxBytes, 1<<40)
	o.MaxEntries = orDefault(o.MaxEntries, 4_000_000)
	o.MaxSparseBytes = orDefault(o.MaxSparseBytes, 64<<30)
	return o
}

func orDefault(n, def int64) int64 {
	if n == 0 {
		return def
	}
	return n
}

// Stats says what a layer contained.
type Stats struct {
	Entries int64 // entries of the tar, whiteouts among them
	Bytes   int64 // content of regular files, in bytes; a hard link adds nothing

	// DroppedXattrs counts extended attributes that were left out, because the
	// host decides on them (see rootfs.KeepXattr) or because the filesystem
	// does not have them.
	DroppedXattrs int64
}

// Apply unpacks the uncompressed tar stream r into dir, an empty directory that
// nobody else uses. It reads r to its end, so a digest computed on the way is
// complete, unless ctx is done or something fails; then dir is left half full
// and is to be removed. Nothing is synced to disk. It needs root.
//
// Within one layer a later entry replaces an earlier one of the same name, and
// whiteouts apply to lower layers only, wherever they stand in the tar. Parents
// that the tar does not name are made 0755 and root's. The mode of dir itself
// is left alone unless the tar has an entry for it.
func Apply(ctx context.Context, r io.Reader, dir string, opts Options) (Stats, error) {
	u, err := newUnpacker(dir, opts.withDefaults())
	if err != nil {
		return Stats{}, err
	}
	defer u.close()
	br := bufio.NewReaderSize(r, readAhead)
	if err := u.entries(ctx, tar.NewReader(br)); err != nil {
		return u.stats, err
	}
	if err := u.leave(); err != nil {
		return u.stats, err
	}
	return u.stats, u.drain(ctx, br)
}

const (
	readAhead  = 128 << 10 // bytes read from the stream at once, for headers and small files
	bufferSize = 256 << 10 // bytes written to a file at once
)

// buffers are shared, because all layers of an image are unpacked at once.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// unpacker is the state of one Apply.
type unpacker struct {
	opts  Options
	stats Stats
	root  int // the layer's directory

	// The directory that the last entry was in. Tars are in directory order,
	// so most entries find theirs open.
	parent openDir

	claimed int64 // bytes counted against opts.MaxBytes
	sparse  int64 // bytes counted against opts.MaxSparseBytes
	buf     *[bufferSize]byte
}

func newUnpacker(dir string, opts Options) (*unpacker, error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer directory %s: %w", dir, err)
	}
	u := &unpacker{opts: opts, root: root, parent: openDir{fd: -1}}
	if err := u.checkEmpty(dir); err != nil {
		closeFd(root)
		return nil, err
	}
	u.buf = buffers.Get().(*[bufferSize]byte)
	return u, nil
}

func (u *unpacker) checkEmpty(dir string) error {
	var buf [4096]byte
	n, err := unix.Getdents(u.root, buf[:])
	if err != nil {
		return fmt.Errorf("read layer directory %s: %w", dir, err)
	}
	if _, count, _ := unix.ParseDirent(buf[:n], -1, nil); count > 0 {
		return fmt.Errorf("layer directory %s: %w", dir, unix.ENOTEMPTY)
	}
	return nil
}

func (u *unpacker) close() {
	if u.parent.fd >= 0 {
		closeFd(u.parent.fd)
	}
	closeFd(u.root)
	buffers.Put(u.buf)
}

func (u *unpacker) entries(ctx context.Context, tr *tar.Reader) error {
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return readError("read layer", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := u.count(hdr); err != nil {
			return fmt.Errorf("entry %q: %w", shorten(hdr.Name), err)
		}
		if err := u.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("entry %q: %w", shorten(hdr.Name), err)
		}
	}
}

// count charges an entry to the limits, before anything is made of it.
func (u *unpacker) count(hdr *tar.Header) error {
	u.stats.Entries++
	if u.stats.Entries > u.opts.MaxEntries {
		return fmt.Errorf("more than %d entries: %w", u.opts.MaxEntries, ErrLimit)
	}
	if hdr.Size < 0 {
		return fmt.Errorf("size %d: %w", hdr.Size, ErrInvalid)
	}
	if hdr.Size > u.opts.MaxBytes-u.claimed {
		return fmt.Errorf("more than %d bytes: %w", u.opts.MaxBytes, ErrLimit)
	}
	u.claimed += hdr.Size
	if !isSparse(hdr) {
		return nil
	}
	if hdr.Size > u.opts.MaxSparseBytes-u.sparse {
		return fmt.Errorf("more than %d bytes in sparse files: %w", u.opts.MaxSparseBytes, ErrLimit)
	}
	u.sparse += hdr.Size
	return nil
}

// drain reads what follows the end mark of the tar: padding, usually.
func (u *unpacker) drain(ctx context.Context, r io.Reader) error {
	for {
		n, err := r.Read(u.buf[:])
		u.claimed += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read end of layer: %w", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case u.claimed > u.opts.MaxBytes:
			return fmt.Errorf("more than %d bytes: %w", u.opts.MaxBytes, ErrLimit)
		}
	}
}

// readError marks an error of the tar reader as the layer's own fault if it is.
func readError(what string, err error) error {
	for _, own := range []error{tar.ErrHeader, tar.ErrFieldTooLong, io.ErrUnexpectedEOF} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s: %w: %w", what, ErrInvalid, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// shorten keeps a hostile name from filling the screen.
func shorten(name string) string { return tarmeta.Shorten(name) }

// closeFd closes a descriptor whose content a crash may lose: a layer is used
// only after its owner has synced and renamed the whole of it.
func closeFd(fd int) { _ = unix.Close(fd) }
