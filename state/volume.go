package state

import (
	"context"
	"errors"
	"fmt"
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

	// Options are those of the driver "local": type, device and o say what is
	// mounted on the volume's directory while it is in use. None is a directory
	// as it is.
	Options map[string]string `json:",omitempty"`
}

// Mounted reports whether something is mounted on the volume while it is in use.
func (v Volume) Mounted() bool { return v.Options["device"] != "" }

const (
	volumeFile = "volume.json"
	volumeData = "_data"

	// hiddenFile is what volumeFile is renamed to by a removal that still has to
	// look whether a container has come to use the volume.
	hiddenFile = "volume.removing"
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
	if kept, err := s.unhideVolume(v.Name); kept || err != nil {
		return false, err // of a removal that was killed
	}
	if err := s.deleteVolume(v.Name); err != nil { // what another one has left
		return false, err
	}
	if err := os.MkdirAll(s.volumes(), 0o711); err != nil {
		return false, fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	for _, d := range []string{dir, filepath.Join(dir, volumeData)} {
		if err := os.Mkdir(d, 0o755); err != nil {
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
	if name == "" || name[0] == '.' || filepath.Base(name) != name {
		return v, fmt.Errorf("no such volume: %s: %w", name, spec.ErrNotFound)
	}
	err := fsx.ReadJSON(filepath.Join(s.volumes(), name, volumeFile), &v)
	if errors.Is(err, spec.ErrNotFound) {
		return v, fmt.Errorf("no such volume: %s: %w", name, spec.ErrNotFound)
	}
	return v, err
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
