package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/internal/iox"
	"github.com/cleat-project/cleat/spec"
)

// contents are the files of an archive by name.
type contents interface {
	has(name string) bool
	open(name string) (*io.SectionReader, error)
	read(name string, limit int64) ([]byte, error)
	decode(name string, v any) error
}

// Layout is an OCI image layout in a directory, which is only read. No link in it
// leads out of it. It is not safe for concurrent use.
type Layout struct {
	root *os.Root
	open []*os.File
}

// OpenLayout opens the layout in dir. The caller closes it.
func OpenLayout(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("OCI layout %q: not found: %w", dir, spec.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", dir, err)
	}
	l := &Layout{root: root}
	if f := (&dirIndex{l}); !f.has("oci-layout") || !f.has("index.json") {
		return nil, errors.Join(fmt.Errorf("%q is not an OCI layout: it has no index.json: %w", dir, spec.ErrInvalid), l.Close())
	}
	return l, nil
}

// Close closes the layout.
func (l *Layout) Close() error {
	errs := []error{l.root.Close()}
	for _, f := range l.open {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Find returns what the layout has under a digest or a tag; with "" the only manifest,
// or that which is called "latest".
func (l *Layout) Find(name string) (image.Descriptor, error) {
	data, err := (&dirIndex{l}).read("index.json", image.MaxManifestBytes)
	if err != nil {
		return image.Descriptor{}, err
	}
	index, err := image.ParseManifest(data, image.MediaTypeOCIIndex)
	if err != nil {
		return image.Descriptor{}, fmt.Errorf("index.json: %w", err)
	}
	return choose(index.Manifests, name)
}

// manifest returns the manifest of an image; an index leads to that for this machine.
func (l *Layout) manifest(name string) (image.Manifest, error) {
	entry, err := l.Find(name)
	if err != nil {
		return image.Manifest{}, err
	}
	_, m, _, err := (&loader{tar: &dirIndex{l}}).resolve(entry)
	return m, err
}

func choose(list []image.Descriptor, name string) (image.Descriptor, error) {
	for _, d := range list {
		tag := d.Annotations[keyRef]
		if string(d.Digest) == name || name != "" && (tag == name || strings.HasSuffix(tag, ":"+name)) || name == "" && len(list) == 1 {
			return d, nil
		}
	}
	if name == "" {
		return choose(list, "latest")
	}
	return image.Descriptor{}, fmt.Errorf("OCI layout has no image %q: %w", name, spec.ErrNotFound)
}

// Blob reads a small blob of the layout and checks its digest.
func (l *Layout) Blob(d image.Digest, limit int64) ([]byte, error) {
	data, err := (&dirIndex{l}).read(blobName(d), limit)
	if err == nil && image.DigestOf(data) != d {
		err = &image.Mismatch{What: "blob", Want: string(d), Got: string(image.DigestOf(data))}
	}
	return data, err
}

// Layer stages one layer of the layout, as a blob and unpacked, unless the store has
// it.
func (l *Layout) Layer(ctx context.Context, in *image.Ingest, d image.Descriptor, diffID image.Digest, unpack image.Unpacker) error {
	_, err := (&loader{in: in, tar: &dirIndex{l}, opt: LoadOptions{Unpack: unpack}}).addLayer(ctx, layer{blobName(d.Digest), d.Digest, d.Size, diffID})
	return err
}

// Image stages all of one image of the layout, see Find, and returns its
// configuration and its layers. Nothing is listed.
func (l *Layout) Image(ctx context.Context, in *image.Ingest, name string, unpack image.Unpacker) (image.ConfigFile, []image.Descriptor, error) {
	m, err := l.manifest(name)
	if err != nil {
		return image.ConfigFile{}, nil, err
	}
	data, err := l.Blob(m.Config.Digest, image.MaxConfigBytes)
	if err != nil {
		return image.ConfigFile{}, nil, err
	}
	c, err := image.ParseConfig(data)
	if err != nil {
		return image.ConfigFile{}, nil, err
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return image.ConfigFile{}, nil, fmt.Errorf("manifest has %d layers but the image configuration %d: %w", len(m.Layers), len(c.RootFS.DiffIDs), spec.ErrInvalid)
	}
	for i, d := range m.Layers {
		if err := l.Layer(ctx, in, d, c.RootFS.DiffIDs[i], unpack); err != nil {
			return image.ConfigFile{}, nil, fmt.Errorf("layer %s: %w", d.Digest.Short(), err)
		}
	}
	return c, m.Layers, nil
}

// dirIndex is a Layout as the loader wants it.
type dirIndex struct{ l *Layout }

func (d *dirIndex) has(name string) bool {
	fi, err := d.l.root.Stat(name)
	return err == nil && fi.Mode().IsRegular()
}

func (d *dirIndex) open(name string) (*io.SectionReader, error) {
	if !d.has(name) {
		return nil, fmt.Errorf("OCI layout has no file %q: %w", clip(name), spec.ErrInvalid)
	}
	f, err := d.l.root.Open(name)
	if err != nil {
		return nil, err
	}
	d.l.open = append(d.l.open, f)
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f, 0, fi.Size()), nil
}

func (d *dirIndex) read(name string, limit int64) ([]byte, error) {
	r, err := d.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > limit {
		return nil, fmt.Errorf("%q in the OCI layout has %d bytes, more than %d: %w", clip(name), r.Size(), limit, spec.ErrInvalid)
	}
	return io.ReadAll(r)
}

func (d *dirIndex) decode(name string, v any) error {
	data, err := d.read(name, image.MaxManifestBytes)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	return err
}

// WriteLayout writes one manifest, with all that it leads to, which in has, as an OCI
// layout in dir, which is made. What is there of another layout is replaced; blobs
// that are there already stay.
func WriteLayout(ctx context.Context, in *image.Ingest, dir, tag string, m image.Manifest, raw []byte) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	for _, d := range append(slices.Clone(m.Layers), m.Config) {
		if err := copyBlob(ctx, in, blobs, d); err != nil {
			return fmt.Errorf("write OCI layout: blob %s: %w", d.Digest.Short(), err)
		}
	}
	digest := image.DigestOf(raw)
	index, err := json.Marshal(struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Manifests     []image.Descriptor `json:"manifests"`
	}{2, image.MediaTypeOCIIndex, []image.Descriptor{{MediaType: m.MediaType, Digest: digest, Size: int64(len(raw)), Annotations: map[string]string{keyRef: tag}}}})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{filepath.Join("blobs", "sha256", digest.Hex()), raw}, {"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}} {
		if err := fsx.WriteFileVolatile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return fmt.Errorf("write OCI layout: %w", err)
		}
	}
	return dropOthers(blobs, append(slices.Clone(m.Layers), m.Config, image.Descriptor{Digest: digest}))
}

// dropOthers removes the blobs that nothing leads to.
func dropOthers(dir string, keep []image.Descriptor) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(keep, func(d image.Descriptor) bool { return d.Digest.Hex() == e.Name() }) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func copyBlob(ctx context.Context, in *image.Ingest, dir string, d image.Descriptor) (err error) {
	to := filepath.Join(dir, d.Digest.Hex())
	if fi, err := os.Stat(to); err == nil && fi.Size() == d.Size {
		return nil
	}
	from, err := in.OpenBlob(d.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	temp, err := os.CreateTemp(dir, ".blob-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // it is of no use
		}
	}()
	r := iox.WithContext(ctx, from)
	defer func() { _ = r.Close() }() // never fails
	_, err = io.Copy(temp, r)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), to)
}
