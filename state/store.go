// Package state keeps containers on disk: what the user asked for, the start
// plan, and how the last run ended. It is the only writer of that tree.
//
// Several processes use it at once and each can be killed at any point. What
// makes that safe:
//   - A container's directory is complete before its name is taken, and taking
//     the name (symlink(2), which is atomic) is what makes the container exist.
//   - Whoever makes or removes a directory holds the flock on the lock file
//     beside it, so what is half-made and not locked is left over from a kill
//     and Sweep removes it.
//   - Removal gives up the name first; the rest is then invisible.
//
// Lock order: image store, then network, then container.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// The default places of all state.
const (
	DefaultRoot    = "/var/lib/cleat"
	DefaultRunRoot = "/run/cleat"
)

// Store is the tree of containers below two directories. It holds no state of
// its own and is safe for concurrent use.
type Store struct {
	root    string // survives a reboot
	runRoot string // does not
}

// Open returns the store below root and runRoot, making its directories below
// root. Those below runRoot are made when there is need.
func Open(root, runRoot string) (*Store, error) {
	s := &Store{root, runRoot}
	if err := makeDirs(root, s.containers(), s.names(), s.pins()); err != nil {
		return nil, err
	}
	return s, s.makeSkeleton()
}

func (s *Store) makeRunRoot() error {
	return makeDirs(s.runRoot, s.locks(), s.ExitDir(), s.liveDir(), s.healthDir())
}

// makeDirs makes the directories for root alone: unpacked layers and volumes
// have setuid programs that other users of the host must not reach.
func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare state: %w", err)
		}
	}
	return nil
}

// At returns the store below root and runRoot, whose directories are not made
// before there is need.
func At(root, runRoot string) *Store { return &Store{root, runRoot} }

// Root returns the directory of what survives a reboot.
func (s *Store) Root() string { return s.root }

// RunRoot returns the directory of what does not.
func (s *Store) RunRoot() string { return s.runRoot }

// Dir returns the directory of container id.
func (s *Store) Dir(id string) string { return filepath.Join(s.containers(), id) }

func (s *Store) containers() string { return filepath.Join(s.root, "containers") }
func (s *Store) names() string      { return filepath.Join(s.root, "names") }
func (s *Store) locks() string      { return filepath.Join(s.runRoot, "locks") }

// Lock takes the lock of container id, under which it is made, changed and
// removed, and waits for it until ctx is done.
func (s *Store) Lock(ctx context.Context, id string) (*fsx.Lock, error) {
	return fsx.Acquire(ctx, s.lockPath(id))
}

// namesLock is the lock file of all names.
const namesLock = "names"

// TryLock is Lock for those who would rather go on without it than wait: then
// it returns nil.
func (s *Store) TryLock(id string) *fsx.Lock {
	lock, err := fsx.TryAcquire(s.lockPath(id))
	if err != nil {
		return nil
	}
	return lock
}

func (s *Store) lockPath(id string) string { return filepath.Join(s.locks(), id) }

// Create writes a new container with the given further files (its start plan)
// and then takes its name. The caller holds the container's lock. If the name
// is taken, it returns spec.ErrExists and leaves nothing behind.
func (s *Store) Create(ctx context.Context, c spec.Container, files map[string][]byte) (err error) {
	dir := s.Dir(c.ID)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return fmt.Errorf("create container directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	// An ephemeral container is not worth a wait for the disk: what a power cut
	// leaves of it is swept.
	write := fsx.WriteFile
	if c.AutoRemove {
		write = fsx.WriteFileVolatile
	}
	for name, data := range files {
		if err := write(filepath.Join(dir, name), data, fileMode(name)); err != nil {
			return fmt.Errorf("write start plan: %w", err)
		}
	}
	if err := writeJSON(filepath.Join(dir, containerFile), c, write); err != nil {
		return fmt.Errorf("write container: %w", err)
	}
	for _, sub := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("create container directory: %w", err)
		}
	}
	if !c.AutoRemove {
		if err := fsx.SyncDir(s.containers()); err != nil {
			return err
		}
	}
	return s.claim(ctx, c.Name, c.ID, !c.AutoRemove)
}

// SaveFiles durably replaces some of the further files of container id. The
// caller holds its lock.
func (s *Store) SaveFiles(id string, files map[string][]byte) error {
	for name, data := range files {
		if err := fsx.WriteFile(filepath.Join(s.Dir(id), name), data, fileMode(name)); err != nil {
			return fmt.Errorf("write %s of container %s: %w", name, spec.ShortID(id), err)
		}
	}
	return nil
}

// RemoveFile durably removes one of the further files of container id, if it is
// there. The caller holds its lock.
func (s *Store) RemoveFile(id, name string) error {
	if err := os.Remove(filepath.Join(s.Dir(id), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s of container %s: %w", name, spec.ShortID(id), err)
	}
	return fsx.SyncDir(s.Dir(id))
}

const containerFile = "container.json"

// fileMode returns the mode of a file of a container. Its users read those that
// it sees below /etc; the host's cannot reach them.
func fileMode(name string) os.FileMode {
	switch name {
	case "hostname", "hosts", "resolv.conf":
		return 0o644
	}
	return 0o600
}

// claim takes name for container id. A name whose container is gone is left
// over from a removal that was killed, and is taken over.
func (s *Store) claim(ctx context.Context, name, id string, durable bool) error {
	link := filepath.Join(s.names(), name)
	for {
		err := os.Symlink("../containers/"+id, link)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("take name %q: %w", name, err)
		}
		holder, err := s.idOfName(name)
		if err == nil && holder == id {
			break // a renaming that was killed has come as far
		}
		if err == nil && s.dropStray(name, holder) {
			continue
		}
		if err == nil {
			return fmt.Errorf("container name %q is taken by container %s: remove or rename that one, or choose another name: %w", name, spec.ShortID(holder), spec.ErrExists)
		}
		if !errors.Is(err, spec.ErrNotFound) {
			return err
		}
		if err := s.dropDangling(ctx, name); err != nil {
			return err
		}
	}
	if durable {
		return fsx.SyncDir(s.names())
	}
	return nil
}

// dropDangling removes the name of a container that is gone. Two processes may
// find the same dangling name, and the slower one must not remove what the
// faster one has put there: hence the lock.
func (s *Store) dropDangling(ctx context.Context, name string) error {
	lock, err := fsx.Acquire(ctx, filepath.Join(s.locks(), namesLock))
	if err != nil {
		return err
	}
	defer lock.Release()
	if _, err := s.idOfName(name); err == nil || !errors.Is(err, spec.ErrNotFound) {
		return err
	}
	if err := os.Remove(filepath.Join(s.names(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release name %q: %w", name, err)
	}
	return nil
}

// idOfName returns the id of the container called name, spec.ErrNotFound if
// there is none.
func (s *Store) idOfName(name string) (string, error) {
	target, err := os.Readlink(filepath.Join(s.names(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("container %q: %w", name, spec.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	id := filepath.Base(target)
	if !fsx.Exists(filepath.Join(s.Dir(id), containerFile)) {
		return "", fmt.Errorf("container %q: %w", name, spec.ErrNotFound)
	}
	return id, nil
}

// Load returns container id.
func (s *Store) Load(id string) (spec.Container, error) {
	var c spec.Container
	if err := fsx.ReadJSON(filepath.Join(s.Dir(id), containerFile), &c); err != nil {
		return c, err
	}
	return c, nil
}

// Find returns the container that ref names: its name, its id, or the
// beginning of its id if that fits one container alone, in this order.
func (s *Store) Find(ref string) (spec.Container, error) {
	ref = strings.TrimPrefix(ref, "/")
	if ref == "" {
		return spec.Container{}, fmt.Errorf("empty container name: %w", spec.ErrInvalid)
	}
	if strings.ContainsAny(ref, "/\x00") || ref[0] == '.' {
		return spec.Container{}, fmt.Errorf("no such container: %s: %w", ref, spec.ErrNotFound)
	}
	id, err := s.idOfName(ref)
	if errors.Is(err, spec.ErrNotFound) {
		id, err = s.idOfPrefix(ref)
	}
	if err != nil {
		return spec.Container{}, err
	}
	c, err := s.Load(id)
	if err != nil {
		return c, fmt.Errorf("container %s: %w", ref, err)
	}
	return c, nil
}

func (s *Store) idOfPrefix(prefix string) (string, error) {
	ids, err := s.IDs()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("container id %q is ambiguous: %s and %s begin with it: %w", prefix, spec.ShortID(found), spec.ShortID(id), spec.ErrInvalid)
		}
		found = id
	}
	if found == "" {
		return "", fmt.Errorf("no such container: %s: %w", prefix, spec.ErrNotFound)
	}
	return found, nil
}

// IDOf returns the id of the container called name, without reading it.
func (s *Store) IDOf(name string) (string, error) { return s.idOfName(name) }

// IDs returns the ids of all containers that have a name, sorted. One of them
// may be gone when it is looked at, by a removal that goes on or was killed.
func (s *Store) IDs() ([]string, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(names))
	for _, n := range names {
		ids = append(ids, n.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil // one that is being renamed has two names
}
