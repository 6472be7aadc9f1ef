package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Step is the directory of a step of a build: that of a container which no name
// leads to, so that it is nobody's but its maker's. The maker holds its lock. What
// a maker leaves that was killed, Sweep takes away as it does a half-made container.
type Step struct {
	ID    string
	store *Store
	lock  *fsx.Lock
}

// MakeStep makes the directory of a step with an empty writable layer. The caller
// closes the step.
func (s *Store) MakeStep(ctx context.Context, id string) (_ *Step, err error) {
	if err := s.makeRunRoot(); err != nil {
		return nil, err
	}
	lock, err := s.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	st := &Step{id, s, lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	if err := os.Mkdir(st.Dir(), 0o710); err != nil {
		return nil, fmt.Errorf("make directory of step: %w", err)
	}
	for _, sub := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(st.Dir(), sub), 0o755); err != nil {
			return nil, fmt.Errorf("make directory of step: %w", err)
		}
	}
	if err := os.Chmod(st.Upper(), 0o755); err != nil { // because of the umask: it becomes "/"
		return nil, fmt.Errorf("make directory of step: %w", err)
	}
	return st, nil
}

// Dir returns the directory of the step.
func (st *Step) Dir() string { return st.store.Dir(st.ID) }

// Upper returns the directory of the writable layer.
func (st *Step) Upper() string { return filepath.Join(st.Dir(), "upper") }

// Work returns overlayfs's own directory beside Upper.
func (st *Step) Work() string { return filepath.Join(st.Dir(), "work") }

// Write writes the container that runs in the step and its further files. A power
// cut ends the step, so nothing waits for the disk.
func (st *Step) Write(c spec.Container, files map[string][]byte) error {
	for name, data := range files {
		if err := fsx.WriteFileVolatile(filepath.Join(st.Dir(), name), data, fileMode(name)); err != nil {
			return fmt.Errorf("write start plan: %w", err)
		}
	}
	if err := writeJSON(filepath.Join(st.Dir(), containerFile), c, fsx.WriteFileVolatile); err != nil {
		return fmt.Errorf("write container: %w", err)
	}
	return nil
}

// Close removes the step, with all that is kept of its run. Nothing may run in it.
func (st *Step) Close() error {
	defer st.lock.Release()
	err := st.store.discard(st.ID)
	if err == nil {
		err = st.store.Clear(st.ID)
	}
	return errors.Join(err, st.store.ForgetExit(st.ID))
}

// SweepSteps removes steps whose makers were killed.
func (s *Store) SweepSteps() error {
	_, err := s.sweepContainers(true)
	return err
}
