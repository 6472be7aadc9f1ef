package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Run is what is known of a container's latest run. Whether it runs now is not
// in it: that is asked of systemd.
type Run struct {
	StartedAt  time.Time // of the latest run; zero if the container never ran
	FinishedAt time.Time // zero if it never ended
	ExitCode   int       // 128+n for a signal n; 125, 126, 127 if the start failed
	OOMKilled  bool      `json:",omitempty"`

	// Error says why the latest start failed, as one sentence for the user; ""
	// if it did not.
	Error string `json:",omitempty"`

	// RestartCount counts the automatic restarts since the last manual start,
	// Consecutive those since the last run of 10 s or more (it sets the delay).
	RestartCount int `json:",omitempty"`
	Consecutive  int `json:",omitempty"`

	// Restarting is set while a run has ended and systemd is about to start the
	// next one.
	Restarting bool `json:",omitempty"`

	// Stopped is set by a manual stop or kill and cleared by a manual start. No
	// automatic restart happens while it is set.
	Stopped bool `json:",omitempty"`
}

// Live is what cleat-init notes of a run while it lasts. It lies below the
// runtime root, so a reboot makes it void.
type Live struct {
	PID          int // of the payload
	StartedAt    time.Time
	InvocationID string // systemd's, 32 hex digits
}

// LoadRun returns the record of the latest run, the zero Run if there is none.
func (s *Store) LoadRun(id string) (Run, error) {
	var r Run
	err := readJSON(filepath.Join(s.Dir(id), "state.json"), &r)
	if errors.Is(err, spec.ErrNotFound) {
		return Run{}, nil
	}
	return r, err
}

// SaveRun stores r durably.
func (s *Store) SaveRun(id string, r Run) error {
	return writeJSON(filepath.Join(s.Dir(id), "state.json"), r, fsx.WriteFile)
}

// LoadLive returns the record of the run that is under way. Without one, it
// returns spec.ErrNotFound.
func (s *Store) LoadLive(id string) (Live, error) {
	var l Live
	err := readJSON(s.livePath(id), &l)
	return l, err
}

// SaveLive records a run that is under way.
func (s *Store) SaveLive(id string, l Live) error {
	return writeJSON(s.livePath(id), l, fsx.WriteFileVolatile)
}

// Ended removes the record of SaveLive and announces to everybody who waits on
// the exit directory that the run of container id ended with code. It comes
// last: whoever is woken finds the run recorded and all output in the journal.
func (s *Store) Ended(id string, code int) error {
	if err := writeJSON(s.exitPath(id), code, fsx.WriteFileVolatile); err != nil {
		return fmt.Errorf("announce exit: %w", err)
	}
	if err := os.Remove(s.livePath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ExitCode returns what Ended announced last for container id. Without an
// announcement since the last boot, it returns spec.ErrNotFound.
func (s *Store) ExitCode(id string) (int, error) {
	var code int
	err := readJSON(s.exitPath(id), &code)
	return code, err
}

// ForgetExit removes the announcement of Ended, so that the next wait does not
// see that of an earlier run.
func (s *Store) ForgetExit(id string) error {
	if err := os.Remove(s.exitPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ExitDir is the directory in which a file named like the container's id
// appears (by rename) when a run ends: what a waiter watches with inotify(7).
func (s *Store) ExitDir() string { return filepath.Join(s.runRoot, "exit") }

func (s *Store) exitPath(id string) string { return filepath.Join(s.ExitDir(), id) }

func (s *Store) livePath(id string) string { return filepath.Join(s.runRoot, "live", id) }

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, spec.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any, write func(string, []byte, os.FileMode) error) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return write(path, data, 0o600)
}
