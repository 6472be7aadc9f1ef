package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Outgoing is an image as another place is to get it: the manifest under one of
// its names, which may differ between names in how layers are compressed.
type Outgoing struct {
	ID       Digest
	Manifest Manifest
	Digest   Digest     // of Raw
	Raw      []byte     // the manifest, byte for byte as it came
	OCI      Descriptor // of the manifest in OCI's form: the same one, unless it came in Docker's
}

// Outgoing returns what name means, see Get. A reference leads to the manifest
// that has this name.
func (s *Store) Outgoing(name string) (Outgoing, error) {
	x, err := s.readIndex()
	if err != nil {
		return Outgoing{}, err
	}
	id, err := x.resolve(name)
	if err != nil {
		return Outgoing{}, err
	}
	if ref, err := ParseReference(name); err == nil {
		if e, ok := x.byReference(ref); ok && e.id() == id {
			return s.outgoing(e)
		}
	}
	if all := x.entriesOf(id); len(all) > 0 {
		return s.outgoing(all[0])
	}
	return Outgoing{}, noSuchImage(name)
}

func (s *Store) outgoing(e entry) (Outgoing, error) {
	data, err := s.readBlob(e.origin(), MaxManifestBytes)
	if err != nil {
		return Outgoing{}, fmt.Errorf("image %s: %w", e.id().Short(), err)
	}
	m, err := ParseManifest(data, "")
	if err != nil {
		return Outgoing{}, fmt.Errorf("image %s: %w", e.id().Short(), err)
	}
	oci := e.Descriptor
	oci.Annotations = nil
	return Outgoing{ID: e.id(), Manifest: m, Digest: e.origin(), Raw: data, OCI: oci}, nil
}

// Tags returns all tags that the store has in the repository of ref, sorted.
func (s *Store) Tags(ref Reference) ([]Reference, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var tags []Reference
	for _, e := range x.find(`"`+keyName+`":"`+ref.Repository()+":", func(e entry) bool {
		return e.ref().Tag() != "" && e.ref().Repository() == ref.Repository()
	}) {
		tags = append(tags, e.ref())
	}
	sortReferences(tags)
	return tags, nil
}

// EachManifest calls visit for every name in the store, with what it leads to,
// and for every image without a name with the zero Reference.
func (s *Store) EachManifest(visit func(Reference, Outgoing)) error {
	x, err := s.readIndex()
	if err != nil {
		return err
	}
	entries, err := x.all()
	if err != nil {
		return err
	}
	known := map[Digest]Outgoing{} // by manifest
	for _, e := range entries {
		out, ok := known[e.origin()]
		if !ok {
			out, err = s.outgoing(e)
			if errors.Is(err, spec.ErrNotFound) {
				continue // removed since the index was read
			}
			if err != nil {
				return err
			}
			known[e.origin()] = out
		}
		visit(e.ref(), out)
	}
	return nil
}

// Homes tells, for each layer blob of the store, the repositories of a registry
// in which it was seen: those that an image with it was pulled from or pushed to.
func (s *Store) Homes(domain string) (map[Digest][]string, error) {
	homes := map[Digest][]string{}
	err := s.EachManifest(func(ref Reference, out Outgoing) {
		if ref.Digest() == "" || ref.Domain() != domain {
			return
		}
		for _, l := range out.Manifest.Layers {
			if !slices.Contains(homes[l.Digest], ref.Path()) {
				homes[l.Digest] = append(homes[l.Digest], ref.Path())
			}
		}
	})
	return homes, err
}

// NoteDigest notes that a registry has the image with the given manifest under
// the name repository@digest. Nothing is noted if the image is gone meanwhile.
func (s *Store) NoteDigest(ctx context.Context, repository Reference, manifest Digest) error {
	name := repository.WithDigest(manifest)
	return s.update(ctx, func(entries []entry) ([]entry, error) {
		i := slices.IndexFunc(entries, func(e entry) bool { return e.origin() == manifest })
		if i < 0 {
			return entries, nil
		}
		return assign(entries, entries[i], name, time.Now()), nil
	})
}

// Replace makes every name that leads to the manifest old lead to m, which is
// the same image with layers in another compression; its blobs are staged. What
// only old needs becomes garbage.
func (in *Ingest) Replace(ctx context.Context, old Outgoing, m Manifest) (Outgoing, error) {
	if m.Config.Digest != old.ID {
		return Outgoing{}, fmt.Errorf("replace manifest of image %s: it is of another image: %w", old.ID.Short(), spec.ErrInvalid)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Outgoing{}, err
	}
	d, err := in.PutBlob(data)
	if err != nil {
		return Outgoing{}, err
	}
	prepared, err := in.prepare(Addition{Manifest: Descriptor{MediaType: m.MediaType, Digest: d}})
	if err != nil {
		return Outgoing{}, fmt.Errorf("replace manifest of image %s: %w", old.ID.Short(), err)
	}
	err = in.store.update(ctx, func(entries []entry) ([]entry, error) {
		for i, e := range entries {
			if e.id() != old.ID || e.origin() != old.Digest || e.ref().Digest() != "" {
				continue // a name with a digest says which manifest it means
			}
			tagged := e.Annotations[keyTagged]
			entries[i] = prepared.named(e.ref(), time.Now())
			if tagged != "" {
				entries[i].Annotations[keyTagged] = tagged
			}
		}
		return entries, nil
	})
	if err != nil {
		return Outgoing{}, err
	}
	return Outgoing{ID: old.ID, Manifest: m, Digest: d, Raw: data, OCI: prepared.Descriptor}, in.store.notePending()
}
