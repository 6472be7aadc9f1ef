package state

import (
	"fmt"
	"os"
	"path/filepath"
)

// Named is the name of a container with its id.
type Named struct{ Name, ID string }

// Names returns the names of all containers, sorted, without reading these. One
// that is being renamed has two.
func (s *Store) Names() ([]Named, error) {
	entries, err := os.ReadDir(s.names())
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	all := make([]Named, 0, len(entries))
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(s.names(), e.Name())); err == nil {
			all = append(all, Named{e.Name(), filepath.Base(target)})
		}
	}
	return all, nil
}
