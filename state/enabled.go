package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
)

// SetEnabled notes whether cleat has enabled the unit of container id. That need
// not be durable: without the note the unit is enabled once more.
func (s *Store) SetEnabled(id string, enabled bool) error {
	path := s.enabledPath(id)
	if enabled {
		return fsx.WriteFileVolatile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Enabled returns what SetEnabled noted last.
func (s *Store) Enabled(id string) bool { return fsx.Exists(s.enabledPath(id)) }

func (s *Store) enabledPath(id string) string { return filepath.Join(s.Dir(id), "enabled") }
