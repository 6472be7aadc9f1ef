package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Networks are files <id>.json below the root, whose content is package netd's
// business. There are few of them, and they change only under one lock, because
// a new one has to get along with all the others.

// LockNetworks takes the lock under which networks are made and removed.
func (s *Store) LockNetworks(ctx context.Context) (*fsx.Lock, error) {
	return fsx.Acquire(ctx, filepath.Join(s.locks(), networksLock))
}

// networksLock is the lock file of all networks.
const networksLock = "networks"

const networkSuffix = ".json"

func (s *Store) networks() string { return filepath.Join(s.root, "networks") }

func (s *Store) networkPath(id string) string {
	return filepath.Join(s.networks(), filepath.Base(id)+networkSuffix)
}

// SaveNetwork durably stores the record of network id.
func (s *Store) SaveNetwork(id string, record any) error {
	if err := makeDirs(s.networks()); err != nil {
		return err
	}
	if err := writeJSON(s.networkPath(id), record, fsx.WriteFile); err != nil {
		return fmt.Errorf("write network: %w", err)
	}
	return nil
}

// LoadNetwork reads the record of network id into what record points to. That
// there is none is spec.ErrNotFound.
func (s *Store) LoadNetwork(id string, record any) error {
	err := fsx.ReadJSON(s.networkPath(id), record)
	if errors.Is(err, spec.ErrNotFound) {
		return fmt.Errorf("no such network: %s: %w", spec.ShortID(id), spec.ErrNotFound)
	}
	return err
}

// NetworkIDs returns the ids of all networks, sorted.
func (s *Store) NetworkIDs() ([]string, error) { return s.networkIDs(networkSuffix) }

func (s *Store) networkIDs(suffix string) ([]string, error) {
	entries, err := os.ReadDir(s.networks())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && !fsx.IsTemp(e.Name()) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// hiddenSuffix ends the name of the record of a network that is being removed.
const hiddenSuffix = ".removing"

func (s *Store) hiddenPath(id string) string {
	return filepath.Join(s.networks(), filepath.Base(id)+hiddenSuffix)
}

// HideNetwork durably takes network id out of sight: it is the first half of its
// removal, which RestoreNetwork takes back and DropNetwork completes. All three
// want the lock of LockNetworks.
func (s *Store) HideNetwork(id string) error {
	return s.renameNetwork(s.networkPath(id), s.hiddenPath(id))
}

// RestoreNetwork brings back what HideNetwork has hidden.
func (s *Store) RestoreNetwork(id string) error {
	return s.renameNetwork(s.hiddenPath(id), s.networkPath(id))
}

func (s *Store) renameNetwork(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no such network: %s: %w", spec.ShortID(networkOf(from)), spec.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("rename network: %w", err)
	}
	return fsx.SyncDir(s.networks())
}

func networkOf(path string) string {
	id, _, _ := strings.Cut(filepath.Base(path), ".")
	return id
}

// DropNetwork durably removes what HideNetwork has hidden.
func (s *Store) DropNetwork(id string) error {
	if err := os.Remove(s.hiddenPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network: %w", err)
	}
	return fsx.SyncDir(s.networks())
}

// LoadHiddenNetwork reads the record of a network that is hidden into what record
// points to.
func (s *Store) LoadHiddenNetwork(id string, record any) error {
	return fsx.ReadJSON(s.hiddenPath(id), record)
}

// HiddenNetworkIDs returns the ids of the networks that are being removed, or
// whose removal was killed: who holds the lock of LockNetworks sees the latter
// alone.
func (s *Store) HiddenNetworkIDs() ([]string, error) { return s.networkIDs(hiddenSuffix) }
