package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// RemoveVolume deletes volume name with its files, whoever uses it; one that is
// gone already is no error. Its record goes first, so a killed removal leaves
// no half volume.
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
	if isMountPoint(filepath.Join(dir, volumeData)) { // what is below is somebody else's
		return fmt.Errorf("remove volume %q: something is mounted on %s: unmount it first: %w", name, filepath.Join(dir, volumeData), spec.ErrConflict)
	}
	for _, record := range []string{volumeFile, hiddenFile} {
		if err := os.Remove(filepath.Join(dir, record)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove volume %q: %w", name, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove volume %q: %w", name, err)
	}
	return nil
}

// isMountPoint reports whether something is mounted on path.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// IsMounted reports whether something is mounted on the directory of volume
// name.
func (s *Store) IsMounted(name string) bool { return isMountPoint(s.VolumeDir(name)) }

// VolumeRemoval is what RemoveUnusedVolumes has done.
type VolumeRemoval struct {
	Removed []string            // names, in the order of the request
	Users   map[string][]string // the volumes that stay because containers mount them, and these
}

// RemoveUnusedVolumes deletes those of the named volumes that no container
// mounts. Release, unless it is nil, is called for each when its removal is
// certain and before its files go; if it fails, the volume stays.
//
// A container may be created for a volume at the same time. Its record is
// written first and then its volumes are made sure of (EnsureVolume), while
// here the volume's record is hidden first and then the containers are looked
// at: so one of the two sees the other.
func (s *Store) RemoveUnusedVolumes(ctx context.Context, names []string, release func(context.Context, Volume) error) (VolumeRemoval, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(names))) // locks are taken in one order
	r := &volumeRemoval{store: s, release: release, result: VolumeRemoval{Users: map[string][]string{}}}
	for part := range slices.Chunk(sorted, 128) { // each lock is an open file
		if err := r.remove(ctx, part); err != nil {
			r.errs = append(r.errs, err)
			break
		}
	}
	slices.SortFunc(r.result.Removed, func(a, b string) int { return slices.Index(names, a) - slices.Index(names, b) })
	return r.result, errors.Join(r.errs...)
}

// volumeRemoval is one RemoveUnusedVolumes at work.
type volumeRemoval struct {
	store   *Store
	release func(context.Context, Volume) error
	result  VolumeRemoval
	errs    []error
}

// remove does its work for some of the volumes.
func (r *volumeRemoval) remove(ctx context.Context, names []string) error {
	s := r.store
	for _, name := range names {
		lock, err := fsx.Acquire(ctx, s.volumeLockPath(name))
		if err != nil {
			return err
		}
		defer s.unlockVolume(name, lock)
	}
	users, err := s.VolumeUsers()
	if err != nil {
		return err
	}
	var hidden []Volume
	for _, name := range names {
		v, err := s.LoadVolume(name)
		switch {
		case err != nil:
			r.errs = append(r.errs, err)
		case len(users[name]) > 0:
			r.result.Users[name] = users[name]
		default:
			if err := s.hideVolume(name); err != nil {
				return err
			}
			hidden = append(hidden, v)
		}
	}
	if len(hidden) == 0 {
		return nil
	}
	users, err = s.VolumeUsers()
	for _, v := range hidden {
		if err != nil || len(users[v.Name]) > 0 {
			r.result.Users[v.Name] = users[v.Name]
			_, unhideErr := s.unhideVolume(v.Name)
			err = errors.Join(err, unhideErr)
			continue
		}
		r.finish(ctx, v)
	}
	return err
}

// finish removes a hidden volume.
func (r *volumeRemoval) finish(ctx context.Context, v Volume) {
	if r.release != nil {
		if err := r.release(ctx, v); err != nil {
			_, unhideErr := r.store.unhideVolume(v.Name)
			r.errs = append(r.errs, errors.Join(err, unhideErr))
			return
		}
	}
	if err := r.store.deleteVolume(v.Name); err != nil {
		r.errs = append(r.errs, err)
		return
	}
	r.result.Removed = append(r.result.Removed, v.Name)
}

func (s *Store) hideVolume(name string) error {
	dir := filepath.Join(s.volumes(), name)
	if err := os.Rename(filepath.Join(dir, volumeFile), filepath.Join(dir, hiddenFile)); err != nil {
		return fmt.Errorf("remove volume %q: %w", name, err)
	}
	return nil
}

// unhideVolume takes hideVolume back, and reports whether there was anything to
// take back. As long as the hidden record is there, the files are whole.
func (s *Store) unhideVolume(name string) (bool, error) {
	dir := filepath.Join(s.volumes(), name)
	err := os.Rename(filepath.Join(dir, hiddenFile), filepath.Join(dir, volumeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keep volume %q: %w", name, err)
	}
	return true, nil
}
