// Package imagetest makes small images for the tests of the image room.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
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
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cleat-project/cleat/image"
)

// Unpack is an image.Unpacker for regular files and directories.
func Unpack(ctx context.Context, r io.Reader, dir string) (sizeBytes int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return sizeBytes, ctx.Err()
		}
		if err != nil {
			return 0, err
		}
		if err := unpackOne(root, hdr, tr); err != nil {
			return 0, err
		}
		sizeBytes += hdr.Size
	}
}

// FileBytes returns what the files in a tar hold.
func FileBytes(tb testing.TB, data []byte) (n int64) {
	tb.Helper()
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		check(tb, err)
		n += hdr.Size
	}
}

func unpackOne(root *os.Root, hdr *tar.Header, r io.Reader) error {
	name := filepath.Clean(hdr.Name)
	if hdr.Typeflag == tar.TypeDir {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Tar returns a tar with the given files, sorted by name.
func Tar(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		hdr := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		check(tb, w.WriteHeader(hdr))
		_, err := io.WriteString(w, files[name])
		check(tb, err)
	}
	check(tb, w.Close())
	return b.Bytes()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Gzip compresses data.
func Gzip(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	check(tb, err)
	check(tb, w.Close())
	return b.Bytes()
}

// Zstd compresses data.
func Zstd(tb testing.TB, data []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil)
	check(tb, err)
	return w.EncodeAll(data, nil)
}

// Layer is one layer of a made image.
type Layer struct {
	Tar       []byte
	Blob      []byte // Tar as it is transported
	MediaType string
}

// GzipLayer makes a layer with the given files, transported as gzip.
func GzipLayer(tb testing.TB, files map[string]string) Layer {
	tb.Helper()
	data := Tar(tb, files)
	return Layer{data, Gzip(tb, data), image.MediaTypeOCILayerGzip}
}

// Image is a made image.
type Image struct {
	Layers   []Layer
	Config   []byte
	Manifest []byte
}

// New makes an image. Edit, which may be nil, changes its configuration first.
func New(tb testing.TB, edit func(*image.ConfigFile), layers ...Layer) Image {
	tb.Helper()
	c := image.ConfigFile{
		Created:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Platform: image.Platform{}.OrDefault(),
		RootFS:   image.RootFS{Type: "layers", DiffIDs: []image.Digest{}},
	}
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIManifest, Layers: []image.Descriptor{}}
	for i, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, image.DigestOf(l.Tar))
		c.History = append(c.History, image.HistoryEntry{CreatedBy: fmt.Sprint("step ", i)})
		m.Layers = append(m.Layers, image.Descriptor{MediaType: l.MediaType, Digest: image.DigestOf(l.Blob), Size: int64(len(l.Blob))})
	}
	if edit != nil {
		edit(&c)
	}
	config := JSON(tb, c)
	m.Config = image.Descriptor{MediaType: image.MediaTypeOCIConfig, Digest: image.DigestOf(config), Size: int64(len(config))}
	return Image{layers, config, JSON(tb, m)}
}

// JSON encodes v.
func JSON(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := json.Marshal(v)
	check(tb, err)
	return data
}

// ID returns the image's id.
func (i Image) ID() image.Digest { return image.DigestOf(i.Config) }

// Digest returns the digest of the manifest.
func (i Image) Digest() image.Digest { return image.DigestOf(i.Manifest) }

// Blobs returns configuration and layers by digest.
func (i Image) Blobs() map[image.Digest][]byte {
	blobs := map[image.Digest][]byte{i.ID(): i.Config}
	for _, l := range i.Layers {
		blobs[image.DigestOf(l.Blob)] = l.Blob
	}
	return blobs
}

// Add puts i into store under the given names.
func (i Image) Add(tb testing.TB, store *image.Store, names ...string) image.Image {
	tb.Helper()
	in, err := store.Begin(tb.Context())
	check(tb, err)
	defer func() { check(tb, in.Close(tb.Context())) }()
	i.Stage(tb, in)
	img, err := in.Commit(tb.Context(), i.Addition(tb, names...))
	check(tb, err)
	return img
}

// Stage puts everything of i into a session.
func (i Image) Stage(tb testing.TB, in *image.Ingest) {
	tb.Helper()
	for _, data := range i.Blobs() {
		_, err := in.PutBlob(data)
		check(tb, err)
	}
	_, err := in.PutBlob(i.Manifest)
	check(tb, err)
	for _, l := range i.Layers {
		_, err := in.AddLayer(tb.Context(), image.DigestOf(l.Tar), bytes.NewReader(l.Tar), Unpack)
		check(tb, err)
	}
}

// Addition returns what Commit needs to know about i.
func (i Image) Addition(tb testing.TB, names ...string) image.Addition {
	tb.Helper()
	add := image.Addition{Manifest: image.Descriptor{Digest: i.Digest(), Size: int64(len(i.Manifest))}}
	for _, name := range names {
		add.Names = append(add.Names, Ref(tb, name))
	}
	return add
}

// Ref parses a reference.
func Ref(tb testing.TB, s string) image.Reference {
	tb.Helper()
	ref, err := image.ParseReference(s)
	check(tb, err)
	return ref
}

// CheckWhole fails the test unless every listed image is complete and its layers
// hold exactly the files that a fresh unpacking of its blobs gives.
func CheckWhole(tb testing.TB, store *image.Store, unpackBlob func(blob string, m string) (io.ReadCloser, error)) {
	tb.Helper()
	list, err := store.List()
	check(tb, err)
	for _, img := range list {
		m, err := store.Manifest(img)
		check(tb, err)
		for i, d := range m.Layers {
			r, err := unpackBlob(store.BlobPath(d.Digest), d.MediaType)
			check(tb, err)
			dir := tb.TempDir()
			_, err = Unpack(tb.Context(), r, dir)
			check(tb, err)
			check(tb, r.Close())
			if want, got := Tree(tb, dir), Tree(tb, store.LayerDir(img.Layers[i])); want != got {
				tb.Errorf("image %s, layer %d: tree is\n%s\nwant\n%s", img.ID.Short(), i, got, want)
			}
		}
	}
}

// Tree lists the files below dir with their content digests.
func Tree(tb testing.TB, dir string) string {
	tb.Helper()
	var b strings.Builder
	check(tb, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		fmt.Fprintf(&b, "%s %s\n", name, image.DigestOf(data))
		return err
	}))
	return b.String()
}
