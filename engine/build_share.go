package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// CacheStore is where a build cache lies that machines share: a tag of a registry, or
// an OCI layout in a directory.
type CacheStore struct {
	Registry string // reference; "" if it is a directory
	Dir      string
	Tag      string // in the directory; "" means "latest"
}

// String returns where it is, for people.
func (s CacheStore) String() string {
	if s.Registry != "" {
		return s.Registry
	}
	return s.Dir
}

// SharedCache is what such a cache holds: steps, and what is known of trees.
type SharedCache struct {
	Steps []SharedStep
	Notes map[string]string // by their names, see Build.Note
}

// SharedStep is a step with its layer, nil if it changed nothing.
type SharedStep struct {
	Record BuildRecord
	Layer  *BuildLayer
}

// cacheConfigType is the media type of the configuration of a shared cache, which is
// an OCI manifest whose layers are those of steps.
const cacheConfigType = "application/vnd.cleat.buildcache.v1+json"

// cacheConfig is that configuration.
type cacheConfig struct {
	Steps   []cacheStep       `json:"steps"`
	DiffIDs []Digest          `json:"diffIDs"` // of the layers of the manifest, in its order
	Notes   map[string]string `json:"notes,omitempty"`
}

type cacheStep struct {
	Record BuildRecord `json:"record"`
	Layer  int         `json:"layer"` // from 1 on; 0 is none
}

// imported is what caches of others offer. Layers come when they are needed.
type imported struct {
	mu     sync.Mutex
	steps  map[string]SharedStep
	notes  map[string]string
	layers map[Digest]origin
	closes []func() error
}

// origin brings a layer into the store.
type origin struct {
	blob   image.Descriptor
	record BuildRecord
	fetch  func(ctx context.Context, l BuildLayer) error
}

// ImportCache makes the build use a shared cache. Only its list of steps is fetched at
// first.
func (b *Build) ImportCache(ctx context.Context, from CacheStore) error {
	if from.Registry == "" {
		return b.importDir(ctx, from)
	}
	ref, err := image.ParseReference(from.Registry)
	if err != nil {
		return err
	}
	client := b.e.registry()
	m, config, err := client.Artifact(ctx, ref, cacheConfigType)
	if err != nil {
		client.Close()
		return err
	}
	b.imported.close(func() error { client.Close(); return nil })
	return b.imported.add(m, config, func(ctx context.Context, l BuildLayer) error {
		return client.Layers(ctx, b.in, ref, []image.Descriptor{l.Blob}, []Digest{l.DiffID}, registry.PullOptions{Unpack: unpack, Downloads: b.e.config.Pull.Downloads})
	})
}

func (b *Build) importDir(_ context.Context, from CacheStore) error {
	l, err := archive.OpenLayout(from.Dir)
	if err != nil {
		return err
	}
	b.imported.close(l.Close)
	d, err := l.Find(from.Tag)
	if err != nil {
		return err
	}
	raw, err := l.Blob(d.Digest, image.MaxManifestBytes)
	if err != nil {
		return err
	}
	m, err := image.ParseArtifact(raw, cacheConfigType)
	if err != nil {
		return err
	}
	config, err := l.Blob(m.Config.Digest, image.MaxConfigBytes)
	if err != nil {
		return err
	}
	var mu sync.Mutex // a Layout is not safe for concurrent use
	return b.imported.add(m, config, func(ctx context.Context, layer BuildLayer) error {
		mu.Lock()
		defer mu.Unlock()
		return l.Layer(ctx, b.in, layer.Blob, layer.DiffID, unpack)
	})
}

func (i *imported) close(fn func() error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closes = append(i.closes, fn)
}

func (i *imported) closeAll() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, fn := range i.closes {
		errs = append(errs, fn())
	}
	i.closes = nil
	return errors.Join(errs...)
}

// add takes in the configuration of a shared cache. What another cache offered before
// stays.
func (i *imported) add(m image.Manifest, data []byte, fetch func(context.Context, BuildLayer) error) error {
	var c cacheConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("decode build cache: %w: %w", err, spec.ErrInvalid)
	}
	if len(c.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("build cache has %d layers and %d diff ids: %w", len(m.Layers), len(c.DiffIDs), spec.ErrInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.steps == nil {
		i.steps, i.notes, i.layers = map[string]SharedStep{}, map[string]string{}, map[Digest]origin{}
	}
	for _, s := range c.Steps {
		step := SharedStep{Record: s.Record}
		if s.Layer < 0 || s.Layer > len(m.Layers) {
			return fmt.Errorf("build cache: step %s has layer %d of %d: %w", spec.ShortID(s.Record.Key), s.Layer, len(m.Layers), spec.ErrInvalid)
		}
		if s.Layer > 0 {
			step.Layer = &BuildLayer{c.DiffIDs[s.Layer-1], m.Layers[s.Layer-1]}
			i.layers[step.Layer.DiffID] = origin{step.Layer.Blob, s.Record, fetch}
		}
		if _, ok := i.steps[s.Record.Key]; !ok {
			i.steps[s.Record.Key] = step
		}
	}
	for name, value := range c.Notes {
		i.notes[name] = value
	}
	return nil
}

func (i *imported) step(key string) (SharedStep, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, ok := i.steps[key]
	return s, ok
}

func (i *imported) note(name string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.notes[name]
}

func (i *imported) origin(d Digest) (origin, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	o, ok := i.layers[d]
	return o, ok
}

// Need makes sure that layers are here which a shared cache has offered.
func (b *Build) Need(ctx context.Context, layers []BuildLayer) error {
	for _, l := range layers {
		o, ok := b.imported.origin(l.DiffID)
		if !ok || b.in.HasLayer(l.DiffID) && b.in.HasBlob(l.Blob.Digest, l.Blob.Size) {
			continue
		}
		if err := o.fetch(ctx, BuildLayer{l.DiffID, o.blob}); err != nil {
			return fmt.Errorf("fetch layer %s of the shared cache: %w", l.DiffID.Short(), err)
		}
		b.mu.Lock()
		b.made = append(b.made, BuildLayer{l.DiffID, o.blob})
		b.mu.Unlock()
		if err := b.Remember(o.record, &BuildLayer{l.DiffID, o.blob}); err != nil {
			return err
		}
	}
	return nil
}

// ExportOptions says how to export a cache.
type ExportOptions struct {
	Progress func(PullEvent) // of an upload; nil drops it
}

// ExportCache puts steps where other machines find them, their layers compressed.
// What was there is replaced.
func (b *Build) ExportCache(ctx context.Context, to CacheStore, c SharedCache, opt ExportOptions) error {
	m, raw, err := b.cacheManifest(ctx, c)
	if err != nil {
		return err
	}
	if to.Registry == "" {
		tag := to.Tag
		if tag == "" {
			tag = "latest"
		}
		return archive.WriteLayout(ctx, b.in, to.Dir, tag, m, raw)
	}
	ref, err := image.ParseReference(to.Registry)
	if err != nil {
		return err
	}
	client := b.e.registry()
	defer client.Close()
	return client.PushArtifact(ctx, b.in, ref, m, raw, registry.PushOptions{Progress: opt.Progress})
}

// cacheManifest stages all blobs of a shared cache but its manifest, which is returned.
func (b *Build) cacheManifest(ctx context.Context, c SharedCache) (image.Manifest, []byte, error) {
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIManifest, Layers: []image.Descriptor{}}
	config := cacheConfig{Steps: []cacheStep{}, DiffIDs: []Digest{}, Notes: c.Notes}
	places := map[Digest]int{}
	for _, s := range c.Steps {
		step := cacheStep{Record: s.Record}
		step.Record.BlobType, step.Record.BlobDigest, step.Record.BlobBytes = "", "", 0 // the manifest says that
		if s.Layer != nil {
			if places[s.Layer.DiffID] == 0 {
				blob, err := b.compressed(ctx, s)
				if err != nil {
					return m, nil, err
				}
				m.Layers, config.DiffIDs = append(m.Layers, blob), append(config.DiffIDs, s.Layer.DiffID)
				places[s.Layer.DiffID] = len(m.Layers)
			}
			step.Layer = places[s.Layer.DiffID]
		}
		config.Steps = append(config.Steps, step)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return m, nil, err
	}
	digest, err := b.in.PutBlob(data)
	if err != nil {
		return m, nil, err
	}
	m.Config = image.Descriptor{MediaType: cacheConfigType, Digest: digest, Size: int64(len(data))}
	raw, err := json.Marshal(m)
	return m, raw, err
}

// compressed returns the blob of a step's layer in the form that is sent. The cache
// here keeps that form, so that it is compressed once.
func (b *Build) compressed(ctx context.Context, s SharedStep) (image.Descriptor, error) {
	l := *s.Layer
	if err := b.Need(ctx, []BuildLayer{l}); err != nil {
		return l.Blob, err
	}
	if r, have, err := b.Cached(s.Record.Key); err == nil && have != nil && have.DiffID == l.DiffID && r.BlobDigest != "" {
		l = *have // perhaps compressed for an export before
	}
	blob, err := registry.Gzip(ctx, b.in, l.Blob)
	if err != nil || blob.Digest == l.Blob.Digest {
		return blob, err
	}
	b.mu.Lock()
	b.made = append(b.made, BuildLayer{l.DiffID, blob})
	b.mu.Unlock()
	return blob, b.Remember(s.Record, &BuildLayer{l.DiffID, blob})
}
