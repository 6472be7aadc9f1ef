package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// LoadOptions say how to load an archive. Unpack has to be given.
type LoadOptions struct {
	Unpack   image.Unpacker
	Progress image.Progress // may be nil
	Platform image.Platform // chosen from a multi-platform index; zero means linux on this processor
}

// Loaded is one image that Load has added.
type Loaded struct {
	Image image.Image
	Names []image.Reference // that the archive gave it; empty if it had none
}

// Load adds the images of an archive written by `docker save` or of an OCI image
// layout, which r yields as tar, compressed or not. Images before a broken one
// stay loaded. An archive that is not understood is an error that wraps
// spec.ErrInvalid.
func Load(ctx context.Context, store *image.Store, r io.Reader, opt LoadOptions) (_ []Loaded, err error) {
	in, err := store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	t, err := openTar(ctx, in, r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	l := &loader{in: in, tar: t, opt: opt}
	switch {
	case t.has("oci-layout") && t.has("index.json"):
		return l.loadOCI(ctx)
	case t.has("manifest.json"):
		return l.loadDocker(ctx)
	}
	return nil, fmt.Errorf("archive holds neither manifest.json (docker save) nor index.json (OCI); a root filesystem is imported: %w", spec.ErrInvalid)
}

// loader is one Load at work.
type loader struct {
	in  *image.Ingest
	tar contents
	opt LoadOptions
}

// layer is one layer in the archive.
type layer struct {
	name   string // of the file
	blob   image.Digest
	size   int64
	diffID image.Digest
}

func blobName(d image.Digest) string { return "blobs/sha256/" + d.Hex() }

func (l *loader) loadOCI(ctx context.Context) ([]Loaded, error) {
	data, err := l.tar.read("index.json", image.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	index, err := image.ParseManifest(data, image.MediaTypeOCIIndex)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var done []Loaded
	for _, entry := range index.Manifests {
		one, err := l.loadEntry(ctx, entry)
		if err != nil {
			return done, err
		}
		done = append(done, one)
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("archive holds no image: %w", spec.ErrInvalid)
	}
	return done, nil
}

// loadEntry adds the image of one entry of an OCI index.
func (l *loader) loadEntry(ctx context.Context, entry image.Descriptor) (Loaded, error) {
	d, m, data, err := l.resolve(entry)
	if err != nil {
		return Loaded{}, err
	}
	config, err := l.tar.read(blobName(m.Config.Digest), image.MaxConfigBytes)
	if err != nil {
		return Loaded{}, err
	}
	c, err := l.parseConfig(config, m.Config.Digest, len(m.Layers))
	if err != nil {
		return Loaded{}, err
	}
	var layers []layer
	for i, b := range m.Layers {
		layers = append(layers, layer{blobName(b.Digest), b.Digest, b.Size, c.RootFS.DiffIDs[i]})
	}
	if _, err := l.addLayers(ctx, layers); err != nil {
		return Loaded{}, err
	}
	return l.commit(ctx, m.MediaType, d, data, config, entryNames(entry))
}

// resolve reads the manifest of an entry, through a multi-platform index if need be.
func (l *loader) resolve(entry image.Descriptor) (image.Digest, image.Manifest, []byte, error) {
	for range 2 {
		data, err := l.tar.read(blobName(entry.Digest), image.MaxManifestBytes)
		if err != nil {
			return "", image.Manifest{}, nil, err
		}
		if got := image.DigestOf(data); got != entry.Digest {
			return "", image.Manifest{}, nil, &image.Mismatch{What: "manifest", Want: string(entry.Digest), Got: string(got)}
		}
		m, err := image.ParseManifest(data, entry.MediaType)
		if err != nil || !m.IsIndex() {
			return entry.Digest, m, data, err
		}
		if entry, err = l.opt.Platform.OrDefault().Choose(m.Manifests); err != nil {
			return "", image.Manifest{}, nil, err
		}
	}
	return "", image.Manifest{}, nil, fmt.Errorf("manifest %s: is an index inside an index: %w", entry.Digest, spec.ErrUnsupport)
}

// Annotations that name an image, for containerd and for everybody else.
const (
	keyName = "io.containerd.image.name"
	keyRef  = "org.opencontainers.image.ref.name"
)

// entryNames returns the name that an OCI index gives an image. A bare word in
// ref.name is a tag without repository and names nothing.
func entryNames(entry image.Descriptor) []image.Reference {
	for _, key := range []string{keyName, keyRef} {
		s := entry.Annotations[key]
		if !strings.ContainsAny(s, ":/") {
			continue
		}
		if ref, err := image.ParseReference(s); err == nil && ref.Tag() != "" && ref.Digest() == "" {
			return []image.Reference{ref}
		}
	}
	return nil
}

// savedImage is an element of manifest.json, see
// https://github.com/moby/docker-image-spec/blob/main/v1.2.md.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (l *loader) loadDocker(ctx context.Context) ([]Loaded, error) {
	var list []savedImage
	if err := l.tar.decode("manifest.json", &list); err != nil {
		return nil, err
	}
	var done []Loaded
	for _, saved := range list {
		one, err := l.loadSaved(ctx, saved)
		if err != nil {
			return done, err
		}
		done = append(done, one)
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("archive holds no image: %w", spec.ErrInvalid)
	}
	return done, nil
}

// loadSaved adds one image of `docker save`. The archive has no manifest that a
// registry would know, so one is written.
func (l *loader) loadSaved(ctx context.Context, saved savedImage) (Loaded, error) {
	config, err := l.tar.read(saved.Config, image.MaxConfigBytes)
	if err != nil {
		return Loaded{}, err
	}
	c, err := l.parseConfig(config, "", len(saved.Layers))
	if err != nil {
		return Loaded{}, err
	}
	var names []image.Reference
	for _, s := range saved.RepoTags {
		ref, err := image.ParseReference(s)
		if err != nil || ref.Digest() != "" {
			return Loaded{}, fmt.Errorf("manifest.json: tag %q: %w: %w", clip(s), err, spec.ErrInvalid)
		}
		names = append(names, ref)
	}
	var layers []layer
	for i, name := range saved.Layers {
		layers = append(layers, layer{name: name, diffID: c.RootFS.DiffIDs[i]})
	}
	blobs, err := l.addLayers(ctx, layers)
	if err != nil {
		return Loaded{}, err
	}
	manifest, err := json.Marshal(image.Manifest{
		SchemaVersion: 2, MediaType: image.MediaTypeOCIManifest, Layers: blobs,
		Config: image.Descriptor{MediaType: image.MediaTypeOCIConfig, Digest: image.DigestOf(config), Size: int64(len(config))},
	})
	if err != nil {
		return Loaded{}, err
	}
	return l.commit(ctx, image.MediaTypeOCIManifest, image.DigestOf(manifest), manifest, config, names)
}

// parseConfig checks a configuration against its digest, if known, its manifest,
// and the platform that is wanted.
func (l *loader) parseConfig(data []byte, want image.Digest, layers int) (image.ConfigFile, error) {
	if got := image.DigestOf(data); want != "" && got != want {
		return image.ConfigFile{}, &image.Mismatch{What: "image configuration", Want: string(want), Got: string(got)}
	}
	c, err := image.ParseConfig(data)
	if err == nil && len(c.RootFS.DiffIDs) != layers {
		err = fmt.Errorf("manifest has %d layers but the image configuration %d: %w", layers, len(c.RootFS.DiffIDs), spec.ErrInvalid)
	}
	if want := l.opt.Platform; err == nil && want != (image.Platform{}) && !want.OrDefault().Fits(c.Platform) {
		err = fmt.Errorf("image in the archive is for %s, not for %s: %w", c.Platform, want.OrDefault(), spec.ErrNotFound)
	}
	return c, err
}

func (l *loader) commit(ctx context.Context, mediaType string, d image.Digest, manifest, config []byte, names []image.Reference) (Loaded, error) {
	for _, data := range [][]byte{manifest, config} {
		if _, err := l.in.PutBlob(data); err != nil {
			return Loaded{}, err
		}
	}
	img, err := l.in.Commit(ctx, image.Addition{
		Manifest: image.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(manifest))},
		Names:    names,
	})
	return Loaded{img, names}, err
}

// addLayers adds all layers at the same time and returns their descriptors.
func (l *loader) addLayers(ctx context.Context, layers []layer) ([]image.Descriptor, error) {
	blobs := make([]image.Descriptor, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, one := range layers {
		group.Go(func() (err error) {
			if blobs[i], err = l.addLayer(ctx, one); err != nil {
				return fmt.Errorf("layer %q: %w", clip(one.name), err)
			}
			return nil
		})
	}
	return blobs, group.Wait()
}

func (l *loader) addLayer(ctx context.Context, one layer) (image.Descriptor, error) {
	lock, err := l.in.LockLayer(ctx, one.diffID)
	if err != nil {
		return image.Descriptor{}, err
	}
	defer lock.Release()
	if one.blob != "" && l.in.HasBlob(one.blob, one.size) && l.in.HasLayer(one.diffID) {
		l.opt.Progress.Send(image.Event{Layer: one.blob, Phase: image.Exists, Current: one.size, Total: one.size})
		return image.Descriptor{}, nil // the caller has the descriptor
	}
	r, err := l.tar.open(one.name)
	if err != nil {
		return image.Descriptor{}, err
	}
	shown := one.blob
	if shown == "" {
		shown = one.diffID
	}
	l.opt.Progress.Send(image.Event{Layer: shown, Phase: image.Extracting, Total: r.Size()})
	d, _, err := addBlob(ctx, l.in, r, one.diffID, l.opt.Unpack)
	if err != nil {
		return image.Descriptor{}, err
	}
	if one.blob != "" && d.Digest != one.blob {
		return image.Descriptor{}, &image.Mismatch{What: "blob", Want: string(one.blob), Got: string(d.Digest)}
	}
	l.opt.Progress.Send(image.Event{Layer: shown, Phase: image.Done, Current: r.Size(), Total: r.Size()})
	return d, nil
}
