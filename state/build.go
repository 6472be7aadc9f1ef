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

// BuildRecord is what is remembered of one step of a build: what it made, under a
// key that everything which it depends on goes into. Losing one costs time only.
type BuildRecord struct {
	Key     string    // 64 hex digits
	Created time.Time // when the step ran
	What    string    // the instruction, for people

	DiffID     string `json:",omitempty"` // of the layer that the step made; "" if it changed nothing
	BlobType   string `json:",omitempty"` // media type, digest and size of that layer as a blob
	BlobDigest string `json:",omitempty"`
	BlobBytes  int64  `json:",omitempty"`

	Value string `json:",omitempty"` // what else it made

	Used time.Time `json:"-"` // when the record was written or asked for last
}

func (s *Store) builds() string { return filepath.Join(s.root, "build") }

func (s *Store) buildPath(kind, name string) string { return filepath.Join(s.builds(), kind, name) }

// checkBuildName refuses what is not the name of a file: keys and names are hex
// digits, made by cleat itself.
func checkBuildName(name string) error {
	if name == "" || strings.Trim(name, "0123456789abcdef-") != "" {
		return fmt.Errorf("build record %q: %w", name, spec.ErrInvalid)
	}
	return nil
}

// BuildRecord returns the record called key, and notes that it was of use. One
// that is missing, or cannot be read, is spec.ErrNotFound.
func (s *Store) BuildRecord(key string) (BuildRecord, error) {
	r, err := s.readBuildRecord(key)
	if err == nil {
		now := time.Now()
		_ = os.Chtimes(s.buildPath("steps", key), now, now) // it may be pruned the sooner, nothing worse
	}
	return r, err
}

func (s *Store) readBuildRecord(key string) (BuildRecord, error) {
	if err := checkBuildName(key); err != nil {
		return BuildRecord{}, err
	}
	var r BuildRecord
	path := s.buildPath("steps", key)
	if err := fsx.ReadJSON(path, &r); err != nil || r.Key != key {
		return BuildRecord{}, fmt.Errorf("build record %s: %w", spec.ShortID(key), spec.ErrNotFound)
	}
	if fi, err := os.Stat(path); err == nil {
		r.Used = fi.ModTime()
	}
	return r, nil
}

// SaveBuildRecord stores r under its key. It does not wait for the disk: a power
// cut may take the record, or leave a broken one, which counts as none.
func (s *Store) SaveBuildRecord(r BuildRecord) error {
	if err := checkBuildName(r.Key); err != nil {
		return err
	}
	if err := makeDirs(filepath.Join(s.builds(), "steps")); err != nil {
		return err
	}
	return writeJSON(s.buildPath("steps", r.Key), r, fsx.WriteFileVolatile)
}

// BuildRecords lists all records.
func (s *Store) BuildRecords() ([]BuildRecord, error) {
	names, err := s.buildNames("steps")
	if err != nil {
		return nil, err
	}
	var all []BuildRecord
	for _, name := range names {
		if r, err := s.readBuildRecord(name); err == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// buildNames lists one directory of the build cache.
func (s *Store) buildNames(kind string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.builds(), kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list build cache: %w", err)
	}
	var names []string
	for _, e := range entries {
		if checkBuildName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// RemoveBuildRecord forgets a step. One that is gone is no error.
func (s *Store) RemoveBuildRecord(key string) error { return s.removeBuild("steps", key) }

func (s *Store) removeBuild(kind, name string) error {
	if err := checkBuildName(name); err != nil {
		return err
	}
	if err := os.RemoveAll(s.buildPath(kind, name)); err != nil {
		return fmt.Errorf("remove from build cache: %w", err)
	}
	return nil
}

// BuildNote returns what SaveBuildNote has kept under a name, nil if nothing.
func (s *Store) BuildNote(name string) []byte {
	if checkBuildName(name) != nil {
		return nil
	}
	data, err := os.ReadFile(s.buildPath("notes", name))
	if err != nil {
		return nil // a note saves time only
	}
	return data
}

// SaveBuildNote keeps data under a name of hex digits.
func (s *Store) SaveBuildNote(name string, data []byte) error {
	if err := checkBuildName(name); err != nil {
		return err
	}
	if err := makeDirs(filepath.Join(s.builds(), "notes")); err != nil {
		return err
	}
	return fsx.WriteFileVolatile(s.buildPath("notes", name), data, 0o600)
}

// RemoveBuildNotes forgets all notes.
func (s *Store) RemoveBuildNotes() error {
	return os.RemoveAll(filepath.Join(s.builds(), "notes"))
}

// LockBuild takes the lock of a step's key, under which it is made, so that of
// several builds one does the work and the others find it done.
func (s *Store) LockBuild(ctx context.Context, key string) (*fsx.Lock, error) {
	if err := checkBuildName(key); err != nil {
		return nil, err
	}
	if err := s.makeRunRoot(); err != nil {
		return nil, err
	}
	return fsx.Acquire(ctx, filepath.Join(s.locks(), "build-"+key))
}

// BuildMount is a directory that steps of builds keep files in: that of a mount
// of type cache.
type BuildMount struct {
	Name string // hex digits
	What string // the id that the Dockerfile gives it
	Used time.Time
}

// BuildMountDir returns the directory of a cache mount's files.
func (s *Store) BuildMountDir(name string) string {
	return filepath.Join(s.buildPath("mounts", name), "data")
}

// Sharing says who else may use a cache mount meanwhile.
type Sharing int

// The ways to share.
const (
	Shared   Sharing = iota // all who ask so too
	Locked                  // nobody: they are waited for
	Unshared                // nobody: if there is somebody, spec.ErrConflict
)

// OpenBuildMount returns the lock under which the cache mount called name is used.
// Its directory exists then; made says that it did not before.
func (s *Store) OpenBuildMount(ctx context.Context, m BuildMount, how Sharing) (lock *fsx.Lock, made bool, err error) {
	if err := checkBuildName(m.Name); err != nil {
		return nil, false, err
	}
	if err := errors.Join(s.makeRunRoot(), makeDirs(filepath.Join(s.builds(), "mounts"))); err != nil {
		return nil, false, err
	}
	if lock, err = s.lockMount(ctx, m.Name, how); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			lock.Release()
		}
	}()
	top := s.buildPath("mounts", m.Name)
	if err := makeDirs(top); err != nil {
		return nil, false, err
	}
	err = os.Mkdir(s.BuildMountDir(m.Name), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return lock, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("make cache mount: %w", err)
	}
	return lock, true, writeJSON(filepath.Join(top, "mount.json"), m, fsx.WriteFileVolatile)
}

func (s *Store) lockMount(ctx context.Context, name string, how Sharing) (*fsx.Lock, error) {
	path := filepath.Join(s.locks(), "mount-"+name)
	switch how {
	case Locked:
		return fsx.Acquire(ctx, path)
	case Unshared:
		lock, err := fsx.TryAcquire(path)
		if errors.Is(err, fsx.ErrLocked) {
			err = fmt.Errorf("cache mount is in use: %w", spec.ErrConflict)
		}
		return lock, err
	case Shared:
	}
	return fsx.AcquireShared(ctx, path)
}

// BuildMounts lists the cache mounts.
func (s *Store) BuildMounts() ([]BuildMount, error) {
	names, err := s.buildNames("mounts")
	if err != nil {
		return nil, err
	}
	var all []BuildMount
	for _, name := range names {
		m := BuildMount{}
		_ = fsx.ReadJSON(filepath.Join(s.buildPath("mounts", name), "mount.json"), &m) // what it is called is for show
		m.Name = name
		if fi, err := os.Stat(s.BuildMountDir(name)); err == nil {
			m.Used = fi.ModTime()
		}
		all = append(all, m)
	}
	return all, nil
}

// RemoveBuildMount removes a cache mount with its files, unless a build uses it:
// then it is spec.ErrConflict.
func (s *Store) RemoveBuildMount(ctx context.Context, name string) error {
	if err := s.makeRunRoot(); err != nil {
		return err
	}
	lock, err := s.lockMount(ctx, name, Unshared)
	if err != nil {
		return err
	}
	defer lock.Release()
	return s.removeBuild("mounts", name)
}
