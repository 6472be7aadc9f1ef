package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
)

// What nearly every container has mounted over and many images lack.
var (
	skeletonDirs  = []string{"dev", "etc", "proc", "sys"}
	skeletonFiles = []string{"etc/hostname", "etc/hosts", "etc/resolv.conf"}
)

// Skeleton returns the directory that lies below the layers of every container: it
// has empty mount points. Without it each container would get its own, and each of
// them costs a start a third of a millisecond.
func (s *Store) Skeleton() string { return filepath.Join(s.root, "skeleton") }

// makeSkeleton makes it whole or not at all: what a kill leaves is swept like a
// container that is being removed.
func (s *Store) makeSkeleton() (err error) {
	if fsx.Exists(s.Skeleton()) {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare state: %w", err)
		}
	}()
	tmp, err := os.MkdirTemp(s.containers(), trashPrefix+"skeleton-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, dir := range skeletonDirs {
		if err := os.Mkdir(filepath.Join(tmp, dir), 0o755); err != nil { //nolint:gosec // containers see it as /dev
			return err
		}
	}
	for _, file := range skeletonFiles {
		if err := os.WriteFile(filepath.Join(tmp, file), nil, 0o644); err != nil { //nolint:gosec // as /etc/hosts
			return err
		}
	}
	// Whatever the umask is.
	for _, path := range append([]string{"."}, skeletonDirs...) {
		if err := os.Chmod(filepath.Join(tmp, path), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
	}
	if err := os.Rename(tmp, s.Skeleton()); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was faster
}
