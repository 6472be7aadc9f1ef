package image

import (
	"context"
	"errors"
	"os"
)

// LayerPath returns the directory of an unpacked layer that the store has, listed
// or staged. A staged one moves when another session publishes it: whoever opens
// the directory by this name and does not find it asks again.
func (in *Ingest) LayerPath(diffID Digest) (string, bool) {
	for _, dir := range []string{in.store.LayerDir(diffID), in.stagedLayer(diffID), in.store.LayerDir(diffID)} {
		if _, err := os.Stat(dir); err == nil {
			return dir, true
		}
	}
	return "", false
}

// Publish makes staged layers and their blobs durable without an image that has
// them. They stay for as long as Options.InUse names them.
func (in *Ingest) Publish(diffIDs []Digest, blobs []Descriptor) error {
	return in.publish(nil, blobs, diffIDs)
}

// NoteGarbage says that something in the store may be needed no more. The session that
// ends last deletes what is.
func (in *Ingest) NoteGarbage() error { return in.store.notePending() }

// Collect deletes everything that no image, container or session needs, and
// returns how many bytes that gave back. If the store is in use, it is done when
// that ends, and not counted.
func (s *Store) Collect(ctx context.Context) (int64, error) {
	if err := s.init(); err != nil {
		return 0, err
	}
	c := &collector{store: s, all: true}
	err := s.collectWith(ctx, c)
	if errors.Is(err, errHeld) {
		err = s.notePending()
	}
	return c.freed, err
}
