package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cleat-project/cleat/internal/fsx"
)

// Problem is something that Check has found.
type Problem struct {
	Image Digest // id of the image that is not whole; "" for garbage
	What  string // what is wrong, with the path or digest
}

// Check looks for images that are not whole, which Remove by their id mends, and
// for garbage, which Sweep mends. Garbage is not looked for while the store is
// held. Contents of layers are not compared: that takes a new pull.
func (s *Store) Check(ctx context.Context) ([]Problem, error) {
	if !fsx.Exists(s.path()) {
		return nil, nil
	}
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	entries, err := x.all()
	if err != nil {
		return nil, err
	}
	var found []Problem
	seen := map[Digest]bool{}
	for _, e := range entries {
		if seen[e.id()] {
			continue
		}
		seen[e.id()] = true
		if err := s.whole(e); err != nil {
			found = append(found, Problem{e.id(), err.Error()})
		}
	}
	if len(found) > 0 { // what a broken image needs is not known
		return found, nil
	}
	if err := s.init(); err != nil {
		return nil, err
	}
	c := &collector{store: s, dry: true}
	if fsx.Exists(s.pendingPath()) {
		return found, nil // the next session that ends deletes what is left
	}
	if err := s.choose(ctx, c); err != nil && !errors.Is(err, errHeld) {
		return nil, err
	}
	for _, path := range c.trash {
		found = append(found, Problem{What: "nothing needs " + path})
	}
	return found, nil
}

// whole returns an error unless everything that e leads to is there.
func (s *Store) whole(e entry) error {
	img, err := s.image([]entry{e})
	if err != nil {
		return err
	}
	m, err := s.Manifest(img)
	if err != nil {
		return err
	}
	for _, d := range append(m.Layers, e.Descriptor) {
		fi, err := os.Stat(s.BlobPath(d.Digest))
		if err != nil {
			return err
		}
		if fi.Size() != d.Size {
			return fmt.Errorf("blob %s has %d bytes, want %d", d.Digest, fi.Size(), d.Size)
		}
	}
	for _, d := range img.Layers {
		if _, err := os.Stat(s.LayerDir(d)); err != nil {
			return err
		}
	}
	return nil
}
