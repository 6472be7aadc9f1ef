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
	found := names
	for _, sweep := range []func(bool) ([]Leftover, error){s.sweepPins, s.sweepContainers, s.sweepVolumes, s.sweepTemp} {
		more, err := sweep(remove)
		found = append(found, more...)
		if err != nil {
			return found, err
		}
	}
	if !remove {
		return found, nil
	}
	return found, errors.Join(s.sweepLocks(), s.SweepExits(time.Now()), s.sweepHealth())
}

func (s *Store) sweepNames(ctx context.Context, remove bool) ([]Leftover, error) {
	entries, err := os.ReadDir(s.names())
	if err != nil {
		return nil, err
	}
	var found []Leftover
	for _, e := range entries {
		id, err := s.idOfName(e.Name())
		if err == nil && s.isStray(e.Name(), id) {
			found = append(found, Leftover{filepath.Join(s.names(), e.Name()), "name of a renaming that did not happen"})
			if remove {
				s.dropStray(e.Name(), id)
			}
			continue
		}
		if !errors.Is(err, spec.ErrNotFound) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(s.names(), e.Name())); errors.Is(err, fs.ErrNotExist) {
			continue // a removal under way, which gives up the name first
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
	if err := s.discard(id); err != nil {
		return true, err
	}
	return true, s.Clear(id)
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
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was started since the boot
	}
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

// sweepVolumes finds volumes that were not made or removed to the end, and those
// that were made for a container that did not come to be, or that was to be
// removed with them.
func (s *Store) sweepVolumes(remove bool) ([]Leftover, error) {
	entries, err := os.ReadDir(s.volumes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Leftover
	for _, e := range entries {
		problem, err := s.sweepVolume(e.Name(), remove)
		if err != nil {
			return found, fmt.Errorf("sweep volume %s: %w", e.Name(), err)
		}
		if problem != "" {
			found = append(found, Leftover{filepath.Join(s.volumes(), e.Name()), problem})
		}
	}
	return found, nil
}

// sweepVolume returns what is wrong with a volume, "" if nothing is or somebody
// is at work on it.
func (s *Store) sweepVolume(name string, remove bool) (problem string, err error) {
	lock, err := fsx.TryAcquire(s.volumeLockPath(name))
	if errors.Is(err, fsx.ErrLocked) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer s.unlockVolume(name, lock)
	v, err := s.LoadVolume(name)
	switch {
	case !fsx.Exists(filepath.Join(s.volumes(), name)):
		return "", nil
	case errors.Is(err, spec.ErrNotFound):
		if kept, err := s.keepUsed(name, remove); kept || err != nil {
			return "volume in use whose removal was interrupted", err
		}
		problem = "half-made or half-removed volume"
	case err != nil:
		return "", err
	default:
		lost, err := s.hasLostOwner(v)
		if err != nil || !lost {
			return "", err
		}
		problem = "volume of a container that is gone"
	}
	if remove {
		return problem, s.deleteVolume(name)
	}
	return problem, nil
}

// keepUsed takes back, if restore is set, the removal of a volume that a
// container has come to use, and reports whether it is such a one.
func (s *Store) keepUsed(name string, restore bool) (bool, error) {
	if !fsx.Exists(filepath.Join(s.volumes(), name, hiddenFile)) {
		return false, nil
	}
	used, err := s.VolumesInUse("")
	if err != nil || !used[name] || !restore {
		return used[name], err
	}
	return s.unhideVolume(name)
}

// hasLostOwner reports whether volume v was to be removed with a container that
// does not exist, and no other one has taken it over.
func (s *Store) hasLostOwner(v Volume) (bool, error) {
	if v.Owner == "" || s.hasName(v.Owner) {
		return false, nil
	}
	lock, err := fsx.TryAcquire(s.lockPath(v.Owner))
	if errors.Is(err, fsx.ErrLocked) {
		return false, nil // it is being made
	}
	if err != nil {
		return false, err
	}
	defer lock.Release()
	used, err := s.VolumesInUse("")
	return err == nil && !used[v.Name] && !s.hasName(v.Owner), err
}

// sweepTemp finds the temporary files of killed writers.
func (s *Store) sweepTemp(remove bool) ([]Leftover, error) {
	dirs := []string{s.ExitDir(), filepath.Dir(s.livePath("")), s.healthDir(), s.networks()}
	for _, parent := range []string{s.containers(), s.volumes()} {
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			dirs = append(dirs, filepath.Join(parent, e.Name()))
		}
	}
	var found []Leftover
	for _, dir := range dirs {
		paths, err := fsx.SweepTemp(dir, remove)
		for _, path := range paths {
			found = append(found, Leftover{path, "half-written file"})
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// sweepLocks removes the lock files of containers and volumes that are gone.
// Like the directory they lie in, they are nobody's loss.
func (s *Store) sweepLocks() error {
	entries, err := os.ReadDir(s.locks())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was started since the boot
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		volume, isVolume := strings.CutPrefix(e.Name(), volumeLockPrefix)
		if e.Name() == namesLock || isVolume && fsx.Exists(filepath.Join(s.volumes(), volume)) || fsx.Exists(s.Dir(e.Name())) {
			continue
		}
		lock, err := fsx.TryAcquire(s.lockPath(e.Name()))
		if errors.Is(err, fsx.ErrLocked) {
			continue // of a container that is being made
		}
		if err == nil {
			err = os.Remove(s.lockPath(e.Name()))
			lock.Release()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
