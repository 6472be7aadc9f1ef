package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
	if id, err := s.idOfName(c.Name); err == nil && id == c.ID {
		if err := os.Remove(filepath.Join(s.names(), c.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release name %q: %w", c.Name, err)
		}
	}
	if err := s.trash(c.ID); err != nil {
		return err
	}
	return s.forget(c.ID)
}

// trash removes a container's directory. It is renamed first, so that nobody
// sees it half-removed.
func (s *Store) trash(id string) error {
	gone := filepath.Join(s.containers(), trashPrefix+id)
	if err := os.Rename(s.Dir(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove container directory: %w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	return nil
}

// forget removes what is kept of a container below the runtime root, but for
// its announced exit. Nobody can hold its lock in earnest: the id is not used again.
func (s *Store) forget(id string) error {
	if err := s.removeLive(id); err != nil {
		return err
	}
	if err := os.Remove(s.lockPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Leftover is something that a killed command left behind.
type Leftover struct {
	Path    string
	Problem string // for example "half-made container"
}

// Sweep finds what killed commands left behind, and removes it if remove is
// set. Commands that are under way are not disturbed: they hold locks.
func (s *Store) Sweep(ctx context.Context, remove bool) ([]Leftover, error) {
	names, err := s.sweepNames(ctx, remove)
	if err != nil {
		return names, err
	}
	dirs, err := s.sweepContainers(remove)
	found := append(names, dirs...)
	if err != nil || !remove {
		return found, err
	}
	return found, s.SweepExits(time.Now())
}

func (s *Store) sweepNames(ctx context.Context, remove bool) ([]Leftover, error) {
	entries, err := os.ReadDir(s.names())
	if err != nil {
		return nil, err
	}
	var found []Leftover
	for _, e := range entries {
		if _, err := s.idOfName(e.Name()); !errors.Is(err, spec.ErrNotFound) {
			continue
		}
		found = append(found, Leftover{filepath.Join(s.names(), e.Name()), "name of a container that is gone"})
		if remove {
			if err := s.dropDangling(ctx, e.Name()); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

func (s *Store) sweepContainers(remove bool) ([]Leftover, error) {
	entries, err := os.ReadDir(s.containers())
	if err != nil {
		return nil, err
	}
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	named := make(map[string]bool, len(ids))
	for _, id := range ids {
		named[id] = true
	}
	var found []Leftover
	for _, e := range entries {
		id := strings.TrimPrefix(e.Name(), trashPrefix)
		if named[e.Name()] {
			continue
		}
		lost, err := s.sweepContainer(e.Name(), id, remove)
		if err != nil {
			return found, err
		}
		if lost {
			found = append(found, Leftover{filepath.Join(s.containers(), e.Name()), "half-made or half-removed container"})
		}
	}
	return found, nil
}

// sweepContainer reports whether the directory entry of container id, which no
// name leads to, is left over. It is not if somebody is at work on it.
func (s *Store) sweepContainer(entry, id string, remove bool) (bool, error) {
	lock, err := fsx.TryAcquire(s.lockPath(id))
	if errors.Is(err, fsx.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Release()
	if entry == id && s.hasName(id) || !fsx.Exists(filepath.Join(s.containers(), entry)) {
		return false, nil // finished between the listing and the lock
	}
	if !remove {
		return true, nil
	}
	if err := s.trash(id); err != nil {
		return true, err
	}
	return true, s.forget(id)
}

func (s *Store) hasName(id string) bool {
	c, err := s.Load(id)
	if err != nil {
		return false
	}
	holder, err := s.idOfName(c.Name)
	return err == nil && holder == id
}

// SweepExits forgets the announced exits, older than ten minutes at the time
// now, of containers that are gone.
func (s *Store) SweepExits(now time.Time) error {
	entries, err := os.ReadDir(s.ExitDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < exitAge || fsx.Exists(s.Dir(e.Name())) {
			continue
		}
		if err := s.ForgetExit(e.Name()); err != nil {
			return err
		}
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
