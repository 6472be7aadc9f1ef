package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

// Sweep deletes everything that no image, container or running session needs:
// rests of killed pulls, blobs and layers of removed images. It reports false,
// having done nothing, if the store is held at the moment.
func (s *Store) Sweep(ctx context.Context) (bool, error) {
	if !fsx.Exists(s.path()) {
		return true, nil
	}
	if err := s.init(); err != nil { // a kill may have interrupted it
		return false, err
	}
	err := s.collect(ctx, true)
	if errors.Is(err, errHeld) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) pendingPath() string { return s.path("garbage") }

// notePending leaves a note for the session that hinders a deletion to do it.
func (s *Store) notePending() error {
	return fsx.WriteFileVolatile(s.pendingPath(), nil, filePerm)
}

// deferCollect leaves the deletion to whoever holds the store, which may have been
// given back just before the note was there.
func (s *Store) deferCollect(ctx context.Context) error {
	if err := s.notePending(); err != nil {
		return err
	}
	return s.collectPending(ctx)
}

// collectPending does what notePending has noted, unless there are other sessions.
func (s *Store) collectPending(ctx context.Context) error {
	if !fsx.Exists(s.pendingPath()) {
		return nil
	}
	if err := s.collect(context.WithoutCancel(ctx), false); !errors.Is(err, errHeld) {
		return err
	}
	return nil
}

// collect deletes the garbage. Complete rests of this boot, which a repeated pull
// can use, count as such only after a day, or if all is set.
func (s *Store) collect(ctx context.Context, all bool) error {
	return s.collectWith(ctx, &collector{store: s, all: all})
}

func (s *Store) collectWith(ctx context.Context, c *collector) error {
	if err := s.choose(ctx, c); err != nil {
		return err
	}
	var errs []error
	for _, path := range c.trash { // another collector may be at the same directories
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// choose makes garbage unreachable while nobody else holds the store. What takes
// long to delete, and needs no lock for it, is in c.trash then.
func (s *Store) choose(ctx context.Context, c *collector) error {
	hold, err := s.holdAlone()
	if err != nil {
		return err
	}
	defer hold.Release()
	lock, err := fsx.Acquire(ctx, s.path("lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	if c.live, err = s.live(ctx); err != nil {
		return err
	}
	if c.boot, err = bootID(); err != nil {
		return err
	}
	if err := c.run(); err != nil || c.dry {
		return err
	}
	return os.RemoveAll(s.pendingPath())
}

// liveSet has the hex digits of what is needed. A blob without compression and the
// layer that it was unpacked to have the same digest.
type liveSet struct{ blobs, layers map[string]bool }

// live returns the digests of all blobs and layers that are needed.
func (s *Store) live(ctx context.Context) (*liveSet, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	entries, err := x.all()
	if err != nil {
		return nil, err
	}
	live := &liveSet{map[string]bool{}, map[string]bool{}}
	for _, e := range entries {
		if err := s.mark(live, e); err != nil {
			return nil, fmt.Errorf("image %s: %w; nothing was deleted, remove that image first", e.id().Short(), err)
		}
	}
	if s.inUse == nil {
		return live, nil
	}
	uses, err := s.inUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers that use images: %w", err)
	}
	for _, u := range uses {
		for _, d := range u.Layers {
			live.layers[d.Hex()] = true
		}
		for _, d := range u.Blobs {
			live.blobs[d.Hex()] = true
		}
	}
	return live, nil
}

func (s *Store) mark(live *liveSet, e entry) error {
	data, err := s.readBlob(e.origin(), MaxManifestBytes)
	if err != nil {
		return err
	}
	m, err := ParseManifest(data, "")
	if err != nil {
		return err
	}
	if data, err = s.readBlob(e.id(), MaxConfigBytes); err != nil {
		return err
	}
	c, err := ParseConfig(data)
	if err != nil {
		return err
	}
	live.blobs[e.ref().Digest().Hex()] = true // of an index, which may be signed
	live.blobs[e.Digest.Hex()], live.blobs[e.origin().Hex()], live.blobs[e.id().Hex()] = true, true, true
	for _, d := range m.Layers {
		live.blobs[d.Digest.Hex()] = true
	}
	for _, d := range c.RootFS.DiffIDs {
		live.layers[d.Hex()] = true
	}
	return nil
}

// collector takes garbage away.
type collector struct {
	store *Store
	live  *liveSet
	all   bool
	dry   bool // nothing is touched, all that is garbage goes to trash
	boot  string
	trash []string // directories that nothing leads to any more
	freed int64    // bytes
}

// run renames dead layers, because a half-deleted one must not be found under
// its name after a crash, and deletes dead files.
func (c *collector) run() error {
	s := c.store
	deadBlob := func(name string) bool { return !c.live.blobs[name] }
	deadLayer := func(name string) bool { return !c.live.layers[name] }
	return errors.Join(
		c.each(s.layersDir(), c.layer), // first: it adds to live
		fsx.SyncDir(s.layersDir()),
		c.deleteFiles(s.path("blobs", "sha256"), deadBlob),
		c.deleteFiles(s.path("signatures"), deadBlob),
		c.deleteFiles(s.path("sizes"), deadLayer),
		c.deleteFiles(s.path("locks"), deadLayer),
		c.deleteFiles(s.path(), fsx.IsTemp),
		c.each(s.path("staging"), c.staged),
	)
}

func (c *collector) each(dir string, visit func(name string) error) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := visit(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) deleteFiles(dir string, dead func(name string) bool) error {
	return c.each(dir, func(name string) error {
		if !dead(name) {
			return nil
		}
		return c.remove(filepath.Join(dir, name))
	})
}

func (c *collector) remove(path string) error {
	if c.dry {
		if takesNoSpace(path) {
			return nil
		}
		c.trash = append(c.trash, path)
		return nil
	}
	c.freed += bytesBelow(path)
	return os.RemoveAll(path)
}

// bytesBelow adds up the sizes of the files at and below path, as far as it can.
func bytesBelow(path string) (sum int64) {
	_ = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			sum += fi.Size()
		}
		return nil
	})
	return sum
}

// takesNoSpace reports whether path is an empty file, as locks are, or an empty
// directory: those go with the next removal, and are no finding for anybody.
func takesNoSpace(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().IsRegular() {
		return err == nil && info.Size() == 0
	}
	list, err := os.ReadDir(path)
	return err == nil && len(list) == 0
}

// keepTime is how long a complete rest of a failed pull waits for the next one.
const keepTime = 24 * time.Hour

// stale reports whether a staged file or directory is not worth keeping.
func (c *collector) stale(path string) bool {
	var st unix.Stat_t
	if c.all || unix.Lstat(path, &st) != nil {
		return true
	}
	return time.Since(time.Unix(st.Ctim.Unix())) > keepTime // since it was renamed to where it is
}

// staged deletes blobs of earlier boots, stale ones and temporary files.
func (c *collector) staged(name string) error {
	dir := c.store.path("staging", name)
	if name != c.boot {
		return c.remove(dir)
	}
	return c.deleteFiles(dir, func(blob string) bool { return c.stale(filepath.Join(dir, blob)) })
}

func (c *collector) layer(name string) error {
	if c.live.layers[name] {
		return nil
	}
	path := filepath.Join(c.store.layersDir(), name)
	if digits, ok := strings.CutPrefix(name, stagedPrefix+c.boot+"-"); ok && !c.stale(path) {
		c.live.layers[digits] = true // so that its size is kept
		return nil
	}
	if c.dry {
		c.trash = append(c.trash, path)
		return nil
	}
	// The recorded size is that of the tar, and saves a walk through the tree.
	size := c.store.layerSize(Digest(algorithm + name))
	if size == 0 {
		size = bytesBelow(path)
	}
	c.freed += size
	if strings.HasPrefix(name, tempPrefix) {
		c.trash = append(c.trash, path)
		return nil
	}
	return c.throwAway(path)
}

// throwAway moves a directory out of reach.
func (c *collector) throwAway(path string) error {
	bin, err := os.MkdirTemp(c.store.layersDir(), tempPrefix+"*")
	if err != nil {
		return err
	}
	c.trash = append(c.trash, bin)
	return os.Rename(path, filepath.Join(bin, "dead"))
}
