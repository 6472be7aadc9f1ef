package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cleat-project/cleat/spec"
)

// Volumes returns all volumes, sorted by name. One that is removed meanwhile is
// left out.
func (s *Store) Volumes() ([]Volume, error) {
	entries, err := os.ReadDir(s.volumes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var list []Volume
	for _, e := range entries {
		v, err := s.LoadVolume(e.Name())
		if errors.Is(err, spec.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", e.Name(), err)
		}
		list = append(list, v)
	}
	return list, nil
}

// VolumeUsers returns the ids of the containers that mount each volume. It
// fails if a container cannot be read: what that one uses is not known, and
// must not be taken for unused.
func (s *Store) VolumeUsers() (map[string][]string, error) {
	return s.volumeUsers("", func(id string, err error) error {
		return fmt.Errorf("find out what volumes container %s uses: %w", spec.ShortID(id), err)
	})
}

// VolumesInUse returns the names of the volumes that containers other than the
// one with id except mount.
func (s *Store) VolumesInUse(except string) (map[string]bool, error) {
	users, err := s.volumeUsers(except, func(string, error) error {
		return nil // broken: "system check" tells
	})
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool, len(users))
	for name := range users {
		used[name] = true
	}
	return used, nil
}

// volumeUsers calls broken for a container that cannot be read, and ends if
// that returns an error.
func (s *Store) volumeUsers(except string, broken func(id string, err error) error) (map[string][]string, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, id := range ids {
		if id == except {
			continue
		}
		c, err := s.Load(id)
		if errors.Is(err, spec.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			if err := broken(id, err); err != nil {
				return nil, err
			}
			continue
		}
		for _, m := range c.Mounts {
			if m.Type == spec.MountVolume && !slices.Contains(users[m.Source], id) {
				users[m.Source] = append(users[m.Source], id)
			}
		}
	}
	return users, nil
}
