package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// PruneOptions say what Prune removes. The zero value asks for the images that
// have no tag.
type PruneOptions struct {
	All   bool             // also those that have one
	Match func(Image) bool // only those that match; nil means any
}

// Pruned is what Prune has done.
type Pruned struct {
	Images     []Image // that were removed
	Removed    []Removed
	FreedBytes int64 // on disk, of blobs and unpacked layers
}

// Prune removes images that no container uses, and then every blob and layer
// that nothing leads to, whether it belonged to them or not. If the store is in
// use, which a pull or load does, files are deleted when that ends, and are not
// counted. A kill at any moment leaves each image either whole or not listed.
func (s *Store) Prune(ctx context.Context, opt PruneOptions) (Pruned, error) {
	var done Pruned
	err := s.update(ctx, func(entries []entry) ([]entry, error) {
		p := &pruning{store: s, opt: opt}
		entries, err := p.run(ctx, entries)
		done.Removed, done.Images = p.done, p.images
		return entries, err
	})
	if err != nil {
		return Pruned{}, err
	}
	c := &collector{store: s, all: true}
	err = s.collectWith(ctx, c)
	if errors.Is(err, errHeld) {
		err = s.deferCollect(ctx)
	}
	done.FreedBytes = c.freed
	if err != nil {
		err = fmt.Errorf("images are removed, delete their files: %w", err)
	}
	return done, err
}

// pruning is one Prune at work on the entries of the index.
type pruning struct {
	store  *Store
	opt    PruneOptions
	done   []Removed
	images []Image
}

func (p *pruning) run(ctx context.Context, entries []entry) ([]entry, error) {
	used, err := p.used(ctx)
	if err != nil {
		return nil, err
	}
	r := &removal{store: p.store, entries: slices.Clone(entries), known: map[Digest][]Digest{}}
	seen := map[Digest]bool{}
	for _, e := range entries {
		id := e.id()
		if seen[id] || used[id] {
			continue
		}
		seen[id], r.id = true, id
		img, err := p.store.image(r.own())
		if err != nil {
			return nil, err
		}
		if p.wants(img) {
			r.delete()
			p.images = append(p.images, img)
		}
	}
	p.done = r.done
	return r.entries, nil
}

// used returns the ids of images that containers use.
func (p *pruning) used(ctx context.Context) (map[Digest]bool, error) {
	used := map[Digest]bool{}
	if p.store.inUse == nil {
		return used, nil
	}
	uses, err := p.store.inUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers that use images: %w", err)
	}
	for _, u := range uses {
		used[u.Image] = true
	}
	return used, nil
}

func (p *pruning) wants(img Image) bool {
	return (p.opt.All || len(img.References) == 0) &&
		(p.opt.Match == nil || p.opt.Match(img))
}
