package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/iox"
)

// ImportOptions say what to make of a root filesystem. Unpack has to be given.
type ImportOptions struct {
	Unpack    image.Unpacker
	Reference image.Reference // name of the image; the zero Reference leaves it without
	Changes   []string        // Dockerfile instructions, see image.ApplyChanges
	Message   string          // the image's comment
	Platform  image.Platform  // that the files are for; zero means linux on this processor
	Created   time.Time       // zero means now
}

// Import makes an image with one layer from a root filesystem tar, compressed or
// not. The same tar imported twice shares its layer.
func Import(ctx context.Context, store *image.Store, r io.Reader, opt ImportOptions) (_ image.Image, err error) {
	var c image.Config
	if err := image.ApplyChanges(&c, opt.Changes); err != nil {
		return image.Image{}, err
	}
	in, err := store.Begin(ctx)
	if err != nil {
		return image.Image{}, err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	blob, diffID, err := addBlob(ctx, in, iox.WithContext(ctx, r), "", opt.Unpack)
	if err != nil {
		return image.Image{}, err
	}
	if opt.Created.IsZero() {
		opt.Created = time.Now()
	}
	created := opt.Created.UTC()
	config, err := json.Marshal(image.ConfigFile{
		Created: created, Comment: opt.Message, Platform: opt.Platform.OrDefault(), Config: c,
		RootFS:  image.RootFS{Type: "layers", DiffIDs: []image.Digest{diffID}},
		History: []image.HistoryEntry{{Created: created, Comment: opt.Message}},
	})
	if err != nil {
		return image.Image{}, err
	}
	return add(ctx, in, config, []image.Descriptor{blob}, opt.Reference)
}

// add writes the manifest of an image and commits it.
func add(ctx context.Context, in *image.Ingest, config []byte, layers []image.Descriptor, ref image.Reference) (image.Image, error) {
	var names []image.Reference
	if !ref.IsZero() {
		names = append(names, ref)
	}
	return addNamed(ctx, in, config, layers, names)
}

// addNamed is add with any number of names.
func addNamed(ctx context.Context, in *image.Ingest, config []byte, layers []image.Descriptor, names []image.Reference) (image.Image, error) {
	id, err := in.PutBlob(config)
	if err != nil {
		return image.Image{}, err
	}
	manifest, err := json.Marshal(image.Manifest{
		SchemaVersion: 2, MediaType: image.MediaTypeOCIManifest, Layers: layers,
		Config: image.Descriptor{MediaType: image.MediaTypeOCIConfig, Digest: id, Size: int64(len(config))},
	})
	if err != nil {
		return image.Image{}, err
	}
	d, err := in.PutBlob(manifest)
	if err != nil {
		return image.Image{}, err
	}
	return in.Commit(ctx, image.Addition{
		Manifest: image.Descriptor{MediaType: image.MediaTypeOCIManifest, Digest: d, Size: int64(len(manifest))},
		Names:    names,
	})
}
