package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Claim takes a further name for container id, whose lock the caller holds and
// whose record it changes to that name next. If the name is taken, it returns
// spec.ErrExists.
func (s *Store) Claim(ctx context.Context, name, id string) error {
	return s.claim(ctx, name, id, true)
}

// ReleaseNames gives up all names and pinned units of container c but those in its
// record. The caller holds its lock.
func (s *Store) ReleaseNames(c spec.Container) error {
	entries, err := os.ReadDir(s.names())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if id, err := s.idOfName(e.Name()); err != nil || id != c.ID || e.Name() == c.Name {
			continue
		}
		if err := os.Remove(filepath.Join(s.names(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release name %q: %w", e.Name(), err)
		}
	}
	pins, err := os.ReadDir(s.pins())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range pins {
		if e.Name() == c.Unit {
			continue
		}
		if err := s.UnpinUnit(e.Name(), c.ID); err != nil {
			return err
		}
	}
	return fsx.SyncDir(s.names())
}

// isStray reports whether name, which leads to container id, is not that of its
// record, as between the steps of a renaming.
func (s *Store) isStray(name, id string) bool {
	c, err := s.Load(id)
	return err == nil && c.Name != name
}

// dropStray removes a name that a killed renaming has left, and reports whether
// it did: one that is under way holds the container's lock.
func (s *Store) dropStray(name, id string) bool {
	if !s.isStray(name, id) {
		return false
	}
	lock, err := fsx.TryAcquire(s.lockPath(id))
	if err != nil {
		return false
	}
	defer lock.Release()
	if holder, err := s.idOfName(name); err != nil || holder != id || !s.isStray(name, id) {
		return false
	}
	return os.Remove(filepath.Join(s.names(), name)) == nil
}

// PinUnit notes that a unit is container id's, although the container is called
// otherwise. The caller holds its lock and changes its record next.
func (s *Store) PinUnit(unit, id string) error {
	path := filepath.Join(s.pins(), unit)
	err := os.Symlink("../containers/"+id, path)
	if errors.Is(err, fs.ErrExist) {
		if holder, pinned := s.PinnedUnit(unit); pinned && holder == id {
			return nil
		}
		if err = os.Remove(path); err == nil {
			err = os.Symlink("../containers/"+id, path)
		}
	}
	if err != nil {
		return fmt.Errorf("pin unit %s: %w", unit, err)
	}
	return fsx.SyncDir(s.pins())
}

// UnpinUnit takes PinUnit back.
func (s *Store) UnpinUnit(unit, id string) error {
	path := filepath.Join(s.pins(), unit)
	target, err := os.Readlink(path)
	if err != nil || filepath.Base(target) != id {
		return nil //nolint:nilerr // There is no such pin.
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin unit %s: %w", unit, err)
	}
	return nil
}

// PinnedUnit returns the container that a unit is, whatever its name says, and
// whether there is one.
func (s *Store) PinnedUnit(unit string) (id string, pinned bool) {
	target, err := os.Readlink(filepath.Join(s.pins(), unit))
	if err != nil {
		return "", false
	}
	id = filepath.Base(target)
	c, err := s.Load(id)
	return id, err == nil && (c.UnitName() == unit || s.Unsettled(id))
}

func (s *Store) pins() string { return filepath.Join(s.root, "pins") }

// sweepPins finds pins of units that are nobody's any more.
func (s *Store) sweepPins(remove bool) ([]Leftover, error) {
	entries, err := os.ReadDir(s.pins())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Leftover
	for _, e := range entries {
		lost, err := s.sweepPin(e.Name(), remove)
		if lost {
			found = append(found, Leftover{filepath.Join(s.pins(), e.Name()), "pin of a unit that is no container's"})
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// sweepPin reports whether a pin is left over. It is not between the steps of a
// renaming.
func (s *Store) sweepPin(unit string, remove bool) (lost bool, err error) {
	id, pinned := s.PinnedUnit(unit)
	if pinned || id == "" {
		return false, nil
	}
	lock, err := fsx.TryAcquire(s.lockPath(id))
	if err != nil {
		return false, nil // somebody is at work on it
	}
	defer lock.Release()
	if _, pinned := s.PinnedUnit(unit); pinned {
		return false, nil
	}
	if !remove {
		return true, nil
	}
	if err := os.Remove(filepath.Join(s.pins(), unit)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	return true, nil
}

// MarkUnsettled notes that what follows from the record of container id, its
// start plan, names and unit, is about to be out of date. The caller holds the
// lock, changes the record, brings the rest in line and calls MarkSettled;
// should it be killed, whoever locks the container next finds the mark.
func (s *Store) MarkUnsettled(id string) error {
	return fsx.WriteFile(s.unsettledPath(id), nil, 0o600)
}

// MarkSettled takes MarkUnsettled back.
func (s *Store) MarkSettled(id string) error {
	if err := os.Remove(s.unsettledPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fsx.SyncDir(s.Dir(id))
}

// Unsettled reports whether MarkUnsettled was called and not taken back.
func (s *Store) Unsettled(id string) bool { return fsx.Exists(s.unsettledPath(id)) }

func (s *Store) unsettledPath(id string) string { return filepath.Join(s.Dir(id), "unsettled") }
