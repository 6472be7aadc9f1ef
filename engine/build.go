package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// Digest names content by its hash.
type Digest = image.Digest

// RunConfig is how a container of an image runs unless the user says otherwise.
type RunConfig = image.Config

// ImageConfigFile is the whole configuration of an image.
type ImageConfigFile = image.ConfigFile

// ImageHistory is one step of how an image was made.
type ImageHistory = image.HistoryEntry

// Healthcheck says how to find out whether a container works.
type Healthcheck = image.Healthcheck

// Platform is the operating system and processor that an image is made for.
type Platform = image.Platform

// ParsePlatform reads os/arch[/variant].
func ParsePlatform(s string) (Platform, error) { return image.ParsePlatform(s) }

// HostPlatform is the platform of this machine.
func HostPlatform() Platform { return image.Platform{}.OrDefault() }

// BuildLayer is one layer of a chain: an image's, or one that a step has made.
type BuildLayer struct {
	DiffID Digest
	Blob   image.Descriptor
}

// BuildRecord is what the cache remembers of a step.
type BuildRecord = state.BuildRecord

// Build is a build under way. It keeps the image store from being cleaned up, so
// that the layers of its steps stay. Any number of builds share one cache. It is
// safe for concurrent use.
type Build struct {
	e    *Engine
	in   *image.Ingest
	opt  BuildOptions
	mu   sync.Mutex
	made []BuildLayer // staged by this build and not published yet

	scope    onceScope
	sweep    sync.Once
	imported imported
}

// BuildOptions says how a build works.
type BuildOptions struct {
	// Latest is the youngest time that files of new layers may have; see
	// SOURCE_DATE_EPOCH. The zero time leaves all as they are.
	Latest time.Time
}

// BeginBuild starts a build. The caller closes it.
func (e *Engine) BeginBuild(ctx context.Context, opt BuildOptions) (*Build, error) {
	in, err := e.images.Begin(ctx)
	if err != nil {
		return nil, err
	}
	e.sweepSecrets()
	return &Build{e: e, in: in, opt: opt}, nil
}

// Close ends the build. What its steps made, also if it failed, is for the next
// build to use.
func (b *Build) Close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(b.publish(), b.imported.closeAll(), b.in.Close(ctx))
}

// publish makes the new layers durable.
func (b *Build) publish() error {
	b.mu.Lock()
	made := b.made
	b.made = nil
	b.mu.Unlock()
	if len(made) == 0 {
		return nil
	}
	var ids []Digest
	var blobs []image.Descriptor
	for _, l := range made {
		ids, blobs = append(ids, l.DiffID), append(blobs, l.Blob)
	}
	if err := b.in.Publish(ids, blobs); err != nil {
		return fmt.Errorf("keep layers of build: %w", err)
	}
	return nil
}

// Base returns the image called ref and its layers, pulled as the policy says.
func (b *Build) Base(ctx context.Context, opt CreateOptions) (Image, []BuildLayer, error) {
	img, err := b.e.resolveImage(ctx, opt)
	if err != nil {
		return Image{}, nil, err
	}
	if img, err = b.e.images.Get(string(img.ID)); err != nil {
		return Image{}, nil, err
	}
	if err := b.e.admit(opt.Image, img); err != nil {
		return Image{}, nil, err
	}
	m, err := b.e.images.Manifest(img)
	if err != nil {
		return Image{}, nil, err
	}
	blobs := m.OCI().Layers
	if len(blobs) != len(img.Layers) {
		return Image{}, nil, fmt.Errorf("image %q: its manifest has %d layers and its configuration %d: %w", opt.Image, len(blobs), len(img.Layers), spec.ErrInvalid)
	}
	layers := make([]BuildLayer, 0, len(blobs))
	for i, blob := range blobs {
		layers = append(layers, BuildLayer{img.Layers[i], blob})
	}
	return img, layers, nil
}

// Cached returns what the cache has under key, with its layer, if the step changed
// anything. What is incomplete counts as missing: spec.ErrNotFound. The layer of a
// shared cache may not be here yet, see Need.
func (b *Build) Cached(key string) (BuildRecord, *BuildLayer, error) {
	r, l, err := b.cachedHere(key)
	if err == nil {
		return r, l, nil
	}
	s, ok := b.imported.step(key)
	if !ok {
		return r, nil, err
	}
	if s.Layer == nil {
		return s.Record, nil, b.Remember(s.Record, nil)
	}
	return s.Record, s.Layer, nil
}

func (b *Build) cachedHere(key string) (BuildRecord, *BuildLayer, error) {
	r, err := b.e.state.BuildRecord(key)
	if err != nil || r.DiffID == "" {
		return r, nil, err
	}
	l := BuildLayer{Digest(r.DiffID), image.Descriptor{MediaType: r.BlobType, Digest: Digest(r.BlobDigest), Size: r.BlobBytes}}
	if !b.in.HasLayer(l.DiffID) || !b.in.HasBlob(l.Blob.Digest, l.Blob.Size) {
		return BuildRecord{}, nil, fmt.Errorf("layer of build step %s: %w", spec.ShortID(key), spec.ErrNotFound)
	}
	return r, &l, nil
}

// Remember puts what a step made into the cache.
func (b *Build) Remember(r BuildRecord, l *BuildLayer) error {
	if l != nil {
		r.DiffID, r.BlobType, r.BlobDigest, r.BlobBytes = string(l.DiffID), l.Blob.MediaType, string(l.Blob.Digest), l.Blob.Size
	}
	old, err := b.e.state.BuildRecord(r.Key)
	if err := b.e.state.SaveBuildRecord(r); err != nil {
		return err
	}
	if err == nil && old.DiffID != "" && (old.DiffID != r.DiffID || old.BlobDigest != r.BlobDigest) {
		return b.in.NoteGarbage() // the cache had the layer before this one for nobody else
	}
	return nil
}

// Lock takes the lock of a step's key and waits for whoever does that step just
// now, in this or another process.
func (b *Build) Lock(ctx context.Context, key string) (*fsx.Lock, error) {
	return b.e.state.LockBuild(ctx, key)
}

// Note returns what KeepNote has kept, nil if nothing.
func (b *Build) Note(name string) []byte {
	if data := b.e.state.BuildNote(name); data != nil {
		return data
	}
	if s := b.imported.note(name); s != "" {
		return []byte(s)
	}
	return nil
}

// KeepNote keeps data for later builds under a name of hex digits.
func (b *Build) KeepNote(name string, data []byte) error { return b.e.state.SaveBuildNote(name, data) }

// BuildImage is the image that a build makes.
type BuildImage struct {
	Config ImageConfigFile // without RootFS, which follows from Layers
	Layers []BuildLayer
	Names  []string // references; none leaves it without a name
}

// Commit lists the image that a build has made.
func (b *Build) Commit(ctx context.Context, im BuildImage) (Image, error) {
	var refs []image.Reference
	for _, name := range im.Names {
		ref, err := commitName(name)
		if err != nil {
			return Image{}, err
		}
		refs = append(refs, ref)
	}
	blobs := make([]image.Descriptor, 0, len(im.Layers))
	im.Config.RootFS = image.RootFS{Type: "layers", DiffIDs: []Digest{}}
	for _, l := range im.Layers {
		blobs = append(blobs, l.Blob)
		im.Config.RootFS.DiffIDs = append(im.Config.RootFS.DiffIDs, l.DiffID)
	}
	if img, ok := b.listed(im.Config, refs); ok {
		return img, nil
	}
	if err := b.Need(ctx, im.Layers); err != nil {
		return Image{}, err
	}
	img, err := archive.AddImage(ctx, b.in, im.Config, blobs, refs)
	if err != nil {
		return Image{}, err
	}
	for _, name := range im.Names {
		b.e.tellImage("tag", img, name)
	}
	return img, nil
}

// listed returns the image id if the store has it under all the names: then there
// is nothing to write.
func (b *Build) listed(config ImageConfigFile, refs []Reference) (Image, bool) {
	data, err := json.Marshal(config)
	if err != nil {
		return Image{}, false
	}
	img, err := b.e.images.Get(string(image.DigestOf(data)))
	if err != nil {
		return Image{}, false
	}
	for _, ref := range refs {
		if !slices.Contains(img.References, ref) {
			return Image{}, false
		}
	}
	return img, true
}

// paths returns the directories of a chain of layers, the topmost first. A chain
// without layers is an empty directory.
func (b *Build) paths(layers []BuildLayer) ([]string, error) {
	var dirs []string
	for _, l := range slices.Backward(layers) {
		dir, ok := b.in.LayerPath(l.DiffID)
		if !ok {
			return nil, fmt.Errorf("layer %s: %w", l.DiffID.Short(), spec.ErrNotFound)
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// mountPoint is a directory on which namespaces without processes mount.
func (e *Engine) mountPoint() (string, error) {
	dir := filepath.Join(e.opt.RunRoot, "root")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}
