package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// HealthStatus is what the checks of a container have found.
type HealthStatus string

// The states of health, in Docker's words.
const (
	HealthStarting  HealthStatus = "starting"  // no check has succeeded yet
	HealthHealthy   HealthStatus = "healthy"   // the last check has succeeded, or few have failed since
	HealthUnhealthy HealthStatus = "unhealthy" // too many checks in a row have failed, or it does not run
)

// Health is the record of a container's health checks. It lies below the runtime
// root and has one writer, the daemon that runs the checks.
type Health struct {
	Run           string // Live.InvocationID of the run that Status and FailingStreak are of
	Status        HealthStatus
	FailingStreak int            `json:",omitempty"` // failures since the last success
	Log           []HealthResult `json:",omitempty"` // of the last checks, the oldest first; also of earlier runs
}

// HealthResult is how one check ended.
type HealthResult struct {
	Start    time.Time
	End      time.Time
	ExitCode int    // 0 is success; -1 if there is none
	Output   string // the beginning of what the command printed, or why there is no exit code
}

// LoadHealth returns the record of container id's health checks. Without one, it
// returns spec.ErrNotFound.
func (s *Store) LoadHealth(id string) (Health, error) {
	var h Health
	err := fsx.ReadJSON(s.healthPath(id), &h)
	return h, err
}

// SaveHealth stores the record of container id's health checks.
func (s *Store) SaveHealth(id string, h Health) error { return s.writeVolatile(s.healthPath(id), h) }

// AwaitHealthy returns once the checks of container id have found its run, which
// is Live.InvocationID, to be healthy. Else it returns when ctx is done, with its
// cause.
func (s *Store) AwaitHealthy(ctx context.Context, id, run string) error {
	if err := makeDirs(s.healthDir()); err != nil {
		return err
	}
	watch, err := watchDirs(map[string]uint32{s.healthDir(): unix.IN_MOVED_TO})
	if err != nil {
		return err
	}
	defer watch.Close()
	for {
		h, err := s.LoadHealth(id)
		if err == nil && h.Run == run && h.Status == HealthHealthy {
			return nil
		}
		if err != nil && !errors.Is(err, spec.ErrNotFound) {
			return err
		}
		if err := nextEvent(ctx, watch); err != nil {
			return err
		}
	}
}

// ForgetHealth removes that record, if there is one.
func (s *Store) ForgetHealth(id string) error {
	if err := os.Remove(s.healthPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Lives returns the ids of the containers with a run under way, or one that has
// just ended.
func (s *Store) Lives() ([]string, error) {
	entries, err := os.ReadDir(s.liveDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was started since the boot
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if _, err := s.Load(e.Name()); errors.Is(err, spec.ErrNotFound) {
			continue // a file that is being written, or of a container that is gone
		}
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// sweepHealth forgets the health of containers that are gone: a check was running
// when they were removed.
func (s *Store) sweepHealth() error {
	entries, err := os.ReadDir(s.healthDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if fsx.IsTemp(e.Name()) || fsx.Exists(s.Dir(e.Name())) {
			continue
		}
		err = errors.Join(err, s.ForgetHealth(e.Name()))
	}
	return err
}

// NotifyDir returns the directory of container id's notification socket, see
// spec.NotifyContainer. It exists while the container runs.
func (s *Store) NotifyDir(id string) string { return filepath.Join(s.runRoot, "notify", id) }

// DropNotify removes that directory, if there is one.
func (s *Store) DropNotify(id string) error { return os.RemoveAll(s.NotifyDir(id)) }

func (s *Store) healthDir() string { return filepath.Join(s.runRoot, "health") }

func (s *Store) healthPath(id string) string { return filepath.Join(s.healthDir(), id) }
