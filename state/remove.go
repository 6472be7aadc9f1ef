package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// trashPrefix starts the name of a directory that is being removed.
const trashPrefix = ".removing-"

// exitAge is how long the announced exit of a removed container is kept for
// those who still wait for it.
const exitAge = 10 * time.Minute

// Remove deletes container c. From the moment its name is given up it no
// longer exists; what a kill leaves behind after that, Sweep removes. The
// caller holds the container's lock, or is its unit's last command.
func (s *Store) Remove(c spec.Container) error {
	if err := s.hide(c); err != nil {
		return err
	}
	return s.Clear(c.ID)
}

// Hide is the first half of a removal that somebody asked for: the container does
// not exist afterwards, whatever happens to the machine. It takes no time, however
// much the container has written.
func (s *Store) Hide(c spec.Container) error {
	if err := s.hide(c); err != nil {
		return err
	}
	return fsx.SyncDir(s.names())
}

// HideEphemeral is Hide for a container that removes itself. After a power cut it
// may be there again, as if the cut had come before: then Check takes it away.
func (s *Store) HideEphemeral(c spec.Container) error { return s.hide(c) }

func (s *Store) hide(c spec.Container) error {
	if id, err := s.idOfName(c.Name); err == nil && id == c.ID {
		if err := os.Remove(filepath.Join(s.names(), c.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release name %q: %w", c.Name, err)
		}
	}
	if c.Unit != "" {
		if err := s.UnpinUnit(c.Unit, c.ID); err != nil {
			return err
		}
	}
	return s.discard(c.ID)
}

// discard renames a container's directory, so that nobody sees it half-removed.
func (s *Store) discard(id string) error {
	if err := os.Rename(s.Dir(id), s.trashDir(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove container directory: %w", err)
	}
	return nil
}

// Clear is the second half of Remove: it gives back the space of a container
// that Hide has taken away.
func (s *Store) Clear(id string) error {
	if err := os.RemoveAll(s.trashDir(id)); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	return s.forget(id)
}

func (s *Store) trashDir(id string) string { return filepath.Join(s.containers(), trashPrefix+id) }

// forget removes what is kept of a container below the runtime root, but for
// its announced exit. Nobody can hold its lock in earnest: the id is not used again.
func (s *Store) forget(id string) error {
	if err := s.removeLive(id); err != nil {
		return err
	}
	if err := errors.Join(s.ForgetHealth(id), s.DropNotify(id)); err != nil {
		return err
	}
	if err := os.Remove(s.lockPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Update stores a changed container. The caller holds its lock.
func (s *Store) Update(c spec.Container) error {
	return writeJSON(filepath.Join(s.Dir(c.ID), containerFile), c, fsx.WriteFile)
}

// WithLock calls fn while holding the lock of container id, and with the
// container as it is then stored. A container that has gone meanwhile is
// spec.ErrNotFound.
func (s *Store) WithLock(ctx context.Context, id string, fn func(spec.Container) error) error {
	lock, err := s.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer lock.Release()
	c, err := s.Load(id)
	if errors.Is(err, spec.ErrNotFound) {
		_ = os.Remove(s.lockPath(id)) // made by Lock for nothing
		return fmt.Errorf("no such container: %s: %w", spec.ShortID(id), spec.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return fn(c)
}
