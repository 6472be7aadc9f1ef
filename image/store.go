package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Store holds images below one root directory. It keeps no state in memory, so
// that several processes and goroutines may use the same root at the same time.
type Store struct {
	root  string
	inUse InUse
}

// Options say how a Store works with its surroundings.
type Options struct {
	// InUse tells which containers use which images. Nil means that none does.
	InUse InUse
}

// InUse lists the containers that use images. It is called, under locks of the
// store, when images or layers are about to be deleted; it must not call the store.
type InUse func(ctx context.Context) ([]Use, error)

// Use is one container's use of an image.
type Use struct {
	Container string   // id, for messages
	Image     Digest   // id of its image, "" if it was made from none
	Layers    []Digest // diff ids that it stands on; they outlive their image
	Blobs     []Digest // that it needs beside them; those of containers go with their image
	Running   bool     // then its image cannot be removed even by force
}

// New returns the store below root, for example /var/lib/cleat. It does not
// touch the disk: what is missing is made by the first image that comes.
func New(root string, opt Options) *Store { return &Store{root, opt.InUse} }

// The directories are for root alone: an unpacked layer holds setuid programs
// that no user of the host may reach (CVE-2021-41091).
const dirPerm, filePerm = 0o700, 0o644

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root, "images"}, elem...)...)
}

func (s *Store) layersDir() string { return filepath.Join(s.root, "layers") }

// LayerDir returns the directory of the unpacked layer with the given diff id.
func (s *Store) LayerDir(diffID Digest) string { return filepath.Join(s.layersDir(), diffID.Hex()) }

// BlobPath returns the file of a blob of a listed image. It is read-only for callers.
func (s *Store) BlobPath(d Digest) string { return s.path("blobs", "sha256", d.Hex()) }

func (s *Store) sizePath(diffID Digest) string { return s.path("sizes", diffID.Hex()) }

// init makes the directories of the store and the oci-layout file.
func (s *Store) init() error {
	for _, dir := range []string{s.path("blobs", "sha256"), s.path("sizes"), s.path("locks"), s.path("signatures"), s.path("staging"), s.layersDir()} {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return fmt.Errorf("make image store: %w", err)
		}
	}
	if fsx.Exists(s.path("oci-layout")) {
		return nil
	}
	if err := fsx.WriteFile(s.path("oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), filePerm); err != nil {
		return fmt.Errorf("make image store: %w", err)
	}
	return nil
}

// Get returns the image that name means: a reference such as "nginx:latest" or
// "nginx@sha256:…", an image id (whole or its first digits), or "sha256:" and
// either. As in Docker a reference wins over the start of an id. The error wraps
// spec.ErrNotFound, spec.ErrInvalid, or spec.ErrConflict if several ids fit.
func (s *Store) Get(name string) (Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return Image{}, err
	}
	id, err := x.resolve(name)
	if err != nil {
		return Image{}, err
	}
	return s.image(x.entriesOf(id))
}

// List returns all images, the youngest first. Images whose tag has moved on are
// among them, without references, until they are removed.
func (s *Store) List() ([]Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	all, err := x.all()
	if err != nil {
		return nil, err
	}
	byID := map[Digest][]entry{}
	for _, e := range all {
		byID[e.id()] = append(byID[e.id()], e)
	}
	var list []Image
	for _, entries := range byID {
		img, err := s.image(entries)
		if errors.Is(err, spec.ErrNotFound) {
			continue // removed since the index was read
		}
		if err != nil {
			return nil, err
		}
		list = append(list, img)
	}
	slices.SortFunc(list, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list, nil
}

// image builds an Image from all index entries with its id.
func (s *Store) image(entries []entry) (Image, error) {
	e := entries[0]
	data, err := s.readBlob(e.id(), MaxConfigBytes)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", e.id().Short(), err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", e.id().Short(), err)
	}
	img := Image{
		ID: e.id(), ManifestDigest: e.origin(), SizeBytes: e.size(),
		Created: c.Created, Author: c.Author, Comment: c.Comment, Platform: c.Platform,
		Config: c.Config, Layers: c.RootFS.DiffIDs, History: c.History,
	}
	for _, e := range entries {
		switch ref := e.ref(); {
		case ref.Digest() != "":
			img.RepoDigests = append(img.RepoDigests, ref)
		case !ref.IsZero():
			img.References = append(img.References, ref)
		}
	}
	sortReferences(img.References)
	sortReferences(img.RepoDigests)
	return img, nil
}

func sortReferences(refs []Reference) {
	slices.SortFunc(refs, func(a, b Reference) int { return strings.Compare(a.String(), b.String()) })
}

// readBlob reads a blob that is at most limit bytes large and checks its digest.
func (s *Store) readBlob(d Digest, limit int64) ([]byte, error) {
	return readVerified(s.BlobPath(d), d, limit)
}

func readVerified(path string, d Digest, limit int64) ([]byte, error) {
	data, err := fsx.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is missing from the store: %w", d, spec.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, at most %d expected", d, len(data), limit)
	}
	if got := DigestOf(data); got != d {
		return nil, fmt.Errorf("blob %s is damaged on disk: its digest is %s; remove the image and pull it again", d, got)
	}
	return data, nil
}

// Manifest returns the manifest of an image as it came.
func (s *Store) Manifest(img Image) (Manifest, error) {
	data, err := s.readBlob(img.ManifestDigest, MaxManifestBytes)
	if err != nil {
		return Manifest{}, fmt.Errorf("image %s: %w", img.ID.Short(), err)
	}
	return ParseManifest(data, "")
}

// Signatures returns what KeepSignatures has kept for the manifest d, nil if
// nothing.
func (s *Store) Signatures(d Digest) ([]byte, error) {
	data, err := os.ReadFile(s.path("signatures", d.Hex()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// RawConfig returns the configuration blob of an image, byte for byte.
func (s *Store) RawConfig(img Image) ([]byte, error) { return s.readBlob(img.ID, MaxConfigBytes) }

// Layers returns the steps that made an image, the newest first, as `history`
// shows them. An image without history gets one nameless step per layer.
func (s *Store) Layers(img Image) []Layer {
	history, next := img.History, 0
	if len(history) == 0 {
		history = make([]HistoryEntry, len(img.Layers))
	}
	steps := make([]Layer, 0, len(history))
	for _, h := range history {
		step := Layer{HistoryEntry: h}
		if !h.EmptyLayer && next < len(img.Layers) {
			step.DiffID = img.Layers[next]
			step.SizeBytes = s.layerSize(step.DiffID)
			next++
		}
		steps = append(steps, step)
	}
	slices.Reverse(steps)
	return steps
}

// TagTime returns when the image's entry in the index was written last, as
// `inspect` shows it under Metadata.LastTagTime. It is zero if not known.
func (s *Store) TagTime(img Image) time.Time {
	x, err := s.readIndex()
	if err != nil {
		return time.Time{}
	}
	var last time.Time
	for _, e := range x.entriesOf(img.ID) {
		if t, err := time.Parse(time.RFC3339Nano, e.Annotations[keyTagged]); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}
