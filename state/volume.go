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

// Volume is a directory that outlives the containers that mount it.
type Volume struct {
	Name      string
	Created   time.Time
	Labels    map[string]string `json:",omitempty"`
	Anonymous bool              `json:",omitempty"` // made for one container, removed with it

	// Owner is the id of the container that an anonymous volume is to be removed
	// with; "" once that was removed without its volumes, as users may do.
	Owner string `json:",omitempty"`
}

const (
	volumeFile = "volume.json"
	volumeData = "_data"
)

// VolumeDir returns the directory that holds the files of volume name.
func (s *Store) VolumeDir(name string) string {
	return filepath.Join(s.volumes(), name, volumeData)
}

func (s *Store) volumes() string { return filepath.Join(s.root, "volumes") }

func (s *Store) volumeLockPath(name string) string { return s.lockPath(volumeLockPrefix + name) }

const volumeLockPrefix = "volume-"

// unlockVolume releases the lock under which a volume is made and removed.
func (s *Store) unlockVolume(name string, lock *fsx.Lock) {
	_ = os.Remove(s.volumeLockPath(name)) // at worst it stays until it is swept
	lock.Release()
}

// EnsureVolume makes volume v unless one of its name exists, and reports
// whether it made it. Its record is written last and is what makes it exist.
func (s *Store) EnsureVolume(ctx context.Context, v Volume) (made bool, err error) {
	dir := filepath.Join(s.volumes(), v.Name)
	if fsx.Exists(filepath.Join(dir, volumeFile)) {
		return false, nil
	}
	lock, err := fsx.Acquire(ctx, s.volumeLockPath(v.Name))
	if err != nil {
		return false, err
	}
	defer s.unlockVolume(v.Name, lock)
	if fsx.Exists(filepath.Join(dir, volumeFile)) {
		return false, nil
	}
	if err := os.MkdirAll(s.volumes(), 0o711); err != nil {
		return false, fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	for _, d := range []string{dir, filepath.Join(dir, volumeData)} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, fmt.Errorf("create volume %q: %w", v.Name, err)
		}
	}
	if err := s.saveVolume(v); err != nil {
		return false, fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	return true, nil
}

func (s *Store) saveVolume(v Volume) error {
	write := fsx.WriteFile
	if v.Anonymous {
		write = fsx.WriteFileVolatile
	}
	return writeJSON(filepath.Join(s.volumes(), v.Name, volumeFile), v, write)
}

// LoadVolume returns volume name, spec.ErrNotFound if there is none.
func (s *Store) LoadVolume(name string) (Volume, error) {
	var v Volume
	err := readJSON(filepath.Join(s.volumes(), name, volumeFile), &v)
	if errors.Is(err, spec.ErrNotFound) {
		return v, fmt.Errorf("no such volume: %s: %w", name, spec.ErrNotFound)
	}
	return v, err
}

// RemoveVolume deletes volume name with its files; one that is gone already is
// no error. Its record goes first, so a killed removal leaves no half volume.
func (s *Store) RemoveVolume(ctx context.Context, name string) error {
	lock, err := fsx.Acquire(ctx, s.volumeLockPath(name))
	if err != nil {
		return err
	}
	defer s.unlockVolume(name, lock)
	return s.deleteVolume(name)
}

// deleteVolume is RemoveVolume for who holds the lock.
func (s *Store) deleteVolume(name string) error {
	dir := filepath.Join(s.volumes(), name)
	if err := os.Remove(filepath.Join(dir, volumeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove volume %q: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove volume %q: %w", name, err)
	}
	return nil
}

// KeepAnonymousVolumes makes the volumes that were made for c survive it. It is
// called before c is removed without them.
func (s *Store) KeepAnonymousVolumes(c spec.Container) error {
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume || !m.Anonymous {
			continue
		}
		v, err := s.LoadVolume(m.Source)
		if errors.Is(err, spec.ErrNotFound) || err == nil && v.Owner == "" {
			continue
		}
		if err != nil {
			return err
		}
		v.Owner = ""
		if err := s.saveVolume(v); err != nil {
			return fmt.Errorf("keep volume %q: %w", v.Name, err)
		}
	}
	return nil
}

// RemoveAnonymousVolumes deletes the volumes that were made for c alone and
// that no other container has taken over (--volumes-from).
func (s *Store) RemoveAnonymousVolumes(ctx context.Context, c spec.Container) error {
	var errs error
	var inUse map[string]bool
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume || !m.Anonymous {
			continue
		}
		if inUse == nil { // reads every container, so only once there is need
			var err error
			if inUse, err = s.VolumesInUse(c.ID); err != nil {
				return err
			}
		}
		if !inUse[m.Source] {
			errs = errors.Join(errs, s.RemoveVolume(ctx, m.Source))
		}
	}
	return errs
}

// VolumesInUse returns the names of the volumes that containers other than the
// one with id except mount.
func (s *Store) VolumesInUse(except string) (map[string]bool, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		if id == except {
			continue
		}
		c, err := s.Load(id)
		if err != nil {
			continue // removed meanwhile, or broken: "system check" tells
		}
		for _, m := range c.Mounts {
			if m.Type == spec.MountVolume {
				used[m.Source] = true
			}
		}
	}
	return used, nil
}
