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
	err := readJSON(s.networkPath(id), record)
	if errors.Is(err, spec.ErrNotFound) {
		return fmt.Errorf("no such network: %s: %w", spec.ShortID(id), spec.ErrNotFound)
	}
	return err
}

// NetworkIDs returns the ids of all networks, sorted.
func (s *Store) NetworkIDs() ([]string, error) {
	entries, err := os.ReadDir(s.networks())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), networkSuffix); ok && !fsx.IsTemp(e.Name()) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// RemoveNetwork durably removes the record of network id, if it is there.
func (s *Store) RemoveNetwork(id string) error {
	if err := os.Remove(s.networkPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network: %w", err)
	}
	return fsx.SyncDir(s.networks())
}
