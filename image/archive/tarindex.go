package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/internal/iox"
	"github.com/cleat-project/cleat/spec"
)

const (
	maxEntries = 100_000 // an image archive has a few files per layer
	maxLinks   = 8       // symlinks followed for one name
)

// member is a file within the archive, or a link to another name in it.
type member struct {
	offset, size int64
	link         string
}

// tarIndex gives random access to the files of a tar, as the list of contents
// comes last in what `docker save` writes.
type tarIndex struct {
	f       *os.File
	members map[string]member
}

// openTar makes r accessible by name. A plain file is read in place, everything
// else is spooled to a file without name in the store. The caller closes it.
func openTar(ctx context.Context, in *image.Ingest, r io.Reader) (*tarIndex, error) {
	f, err := spool(ctx, in, r)
	if err != nil {
		return nil, err
	}
	t := &tarIndex{f: f, members: map[string]member{}}
	if err := t.scan(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close frees the spooled copy. A file that the caller has brought stays open.
func (t *tarIndex) Close() error { return t.f.Close() }

func spool(ctx context.Context, in *image.Ingest, r io.Reader) (*os.File, error) {
	if f := plainFile(r); f != nil {
		return f, nil
	}
	content, _, err := compress.NewReader(iox.WithContext(ctx, r))
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	f, err := in.TempFile()
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(f, content); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read archive: %w", err), f.Close())
	}
	return f, nil
}

// plainFile reopens r if it is a regular, uncompressed file read from its start.
func plainFile(r io.Reader) *os.File {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 0 {
		return nil
	}
	head := make([]byte, 6)
	if _, err := f.ReadAt(head, 0); err != nil || compress.Detect(head) != compress.None {
		return nil
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil
	}
	return again
}

func (t *tarIndex) scan() error {
	tr := tar.NewReader(t.f)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w: %w", err, spec.ErrInvalid)
		}
		if len(t.members) >= maxEntries {
			return fmt.Errorf("archive has more than %d entries: %w", maxEntries, spec.ErrInvalid)
		}
		name := clean(hdr.Name)
		switch hdr.Typeflag {
		case tar.TypeReg:
			offset, err := t.f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			t.members[name] = member{offset: offset, size: hdr.Size}
		case tar.TypeSymlink:
			t.members[name] = member{link: path.Join(path.Dir(name), hdr.Linkname)}
		case tar.TypeLink:
			t.members[name] = member{link: clean(hdr.Linkname)}
		}
	}
}

func clean(name string) string { return path.Join("/", name)[1:] }

// has reports whether the archive has a file of that name.
func (t *tarIndex) has(name string) bool {
	_, err := t.open(name)
	return err == nil
}

// open returns the content of a file.
func (t *tarIndex) open(name string) (*io.SectionReader, error) {
	at := clean(name)
	for range maxLinks {
		m, ok := t.members[at]
		if !ok {
			break
		}
		if m.link == "" {
			return io.NewSectionReader(t.f, m.offset, m.size), nil
		}
		at = clean(m.link)
	}
	return nil, fmt.Errorf("archive has no file %q: %w", clip(name), spec.ErrInvalid)
}

// read returns the content of a file that may have at most limit bytes.
func (t *tarIndex) read(name string, limit int64) ([]byte, error) {
	r, err := t.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > limit {
		return nil, fmt.Errorf("%q in the archive has %d bytes, more than %d: %w", clip(name), r.Size(), limit, spec.ErrInvalid)
	}
	data := make([]byte, r.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("archive is cut off in %q: %w: %w", clip(name), err, spec.ErrInvalid)
	}
	return data, nil
}

func (t *tarIndex) decode(name string, v any) error {
	data, err := t.read(name, image.MaxManifestBytes)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %q in the archive: %w: %w", clip(name), err, spec.ErrInvalid)
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 200)] }
