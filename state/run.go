package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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

	// Restarting is set when a run has ended and systemd is about to start the
	// next one, until that ends.
	Restarting bool `json:",omitempty"`

	// UnderWay is set while a run lasts whose end decides whether the container
	// comes back at boot (on-failure), so that a run that a power cut ended is known.
	UnderWay bool `json:",omitempty"`

	// Stopped is set by a manual stop or kill and cleared by a manual start; see
	// SetStopped. No automatic restart happens while it is set.
	Stopped bool `json:"-"`
}

// Exit is how a run ended, for those who wait for it.
type Exit struct {
	Code  int       // as Run.ExitCode
	Error string    `json:",omitempty"` // as Run.Error
	At    time.Time // as Run.FinishedAt
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
	err := fsx.ReadJSON(filepath.Join(s.Dir(id), "state.json"), &r)
	if errors.Is(err, spec.ErrNotFound) {
		r, err = Run{}, nil
	}
	r.Stopped = fsx.Exists(s.stoppedPath(id))
	return r, err
}

// SetStopped durably sets or clears Run.Stopped. It has a file of its own, so
// that the front end that stops a container and the helper that records the end
// of its run never overwrite each other.
func (s *Store) SetStopped(id string, stopped bool) error {
	path := s.stoppedPath(id)
	if fsx.Exists(path) == stopped {
		return nil
	}
	if stopped {
		return fsx.WriteFile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fsx.SyncDir(s.Dir(id))
}

// SetResting notes that the run of container id that is under way is about to be
// ended on purpose, and that the next one, whenever it comes, is wanted: neither is
// for the restart policy to count. The end of the run takes the note, see
// TakeResting.
func (s *Store) SetResting(id string) error {
	return fsx.WriteFileVolatile(s.restingPath(id), nil, 0o600)
}

// TakeResting removes the note of SetResting and reports whether there was one.
func (s *Store) TakeResting(id string) bool { return os.Remove(s.restingPath(id)) == nil }

func (s *Store) restingPath(id string) string { return filepath.Join(s.Dir(id), "resting") }

func (s *Store) stoppedPath(id string) string { return filepath.Join(s.Dir(id), "stopped") }

// SaveRun stores r durably, but for r.Stopped. It is for the start helper,
// whose runs systemd keeps apart, and while there is no run for a front end
// that holds the container's lock.
func (s *Store) SaveRun(id string, r Run) error {
	return writeJSON(filepath.Join(s.Dir(id), "state.json"), r, fsx.WriteFile)
}

// LoadLive returns the record of the run that is under way. Without one, it
// returns spec.ErrNotFound.
func (s *Store) LoadLive(id string) (Live, error) {
	var l Live
	err := fsx.ReadJSON(s.livePath(id), &l)
	if errors.Is(err, spec.ErrNotFound) {
		err = fsx.ReadJSON(s.startingPath(id), &l)
	}
	if errors.Is(err, spec.ErrNotFound) { // confirmed between the two
		err = fsx.ReadJSON(s.livePath(id), &l)
	}
	return l, err
}

// Starting is the record of a run whose payload is about to be executed. Its
// maker holds a lock on it until it is decided whether that worked.
type Starting struct {
	from, to string
	f        *os.File
}

// SaveStarting records a run whose payload is about to be executed. The caller
// confirms it, or ends: either tells AwaitStart.
func (s *Store) SaveStarting(id string, l Live) (*Starting, error) {
	path := s.startingPath(id)
	f, err := os.CreateTemp(s.liveDir(), fsx.TempPattern)
	if errors.Is(err, fs.ErrNotExist) { // nothing was started since the boot
		if err := s.makeRunRoot(); err != nil {
			return nil, err
		}
		f, err = os.CreateTemp(s.liveDir(), fsx.TempPattern)
	}
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(l)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name()) // best effort
		return nil, fmt.Errorf("record start: %w", err)
	}
	return &Starting{path, s.livePath(id), f}, nil
}

// Confirm records that the payload has been executed. A run that has ended
// already is left alone.
func (st *Starting) Confirm() error {
	err := os.Rename(st.from, st.to)
	_ = st.f.Close() // gives the lock back
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Confirmed reports whether the payload of the run under way is known to have
// been executed.
func (s *Store) Confirmed(id string) bool { return fsx.Exists(s.livePath(id)) }

// Abandon gives up what cannot be confirmed. The end of the process does the
// same.
func (st *Starting) Abandon() { _ = st.f.Close() }

// AwaitStart waits until the payload of a run has been executed, or has failed
// to, and reports which. It is for those to whom systemd has said that the unit
// is up, which comes a moment earlier. A run that has ended since counts as
// executed: its exit tells.
func (s *Store) AwaitStart(id string) (executed bool, err error) {
	if fsx.Exists(s.livePath(id)) {
		return true, nil
	}
	f, err := os.Open(s.startingPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // confirmed between the two looks, or ended
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_SH) // for the time of one execve(2)
		if err == nil {
			return !fsx.Exists(s.startingPath(id)), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("wait for the start: %w", err)
		}
	}
}

// Ended removes the record of SaveStarting and announces to everybody who waits on
// the exit directory how the run of container id ended. The announcement comes
// last: whoever is woken, or has heard it already, finds the run recorded and over
// and all output in the journal.
func (s *Store) Ended(id string, exit Exit) error {
	err := s.removeLive(id)
	if announceErr := s.writeVolatile(s.exitPath(id), exit); announceErr != nil {
		err = errors.Join(err, fmt.Errorf("announce exit: %w", announceErr))
	}
	return err
}

func (s *Store) removeLive(id string) error {
	for _, path := range []string{s.startingPath(id), s.livePath(id)} { // in the order in which Confirm moves it
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// LoadExit returns what Ended announced last for container id. Without an
// announcement since the last boot, it returns spec.ErrNotFound.
func (s *Store) LoadExit(id string) (Exit, error) {
	var exit Exit
	err := fsx.ReadJSON(s.exitPath(id), &exit)
	return exit, err
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

func (s *Store) startingPath(id string) string { return s.livePath(id) + ".starting" }

func (s *Store) liveDir() string { return filepath.Join(s.runRoot, "live") }

func (s *Store) livePath(id string) string { return filepath.Join(s.liveDir(), id) }

// writeVolatile writes a file below the runtime root. After a boot systemd may
// start a container before anything else has made the directories there.
func (s *Store) writeVolatile(path string, v any) error {
	err := writeJSON(path, v, fsx.WriteFileVolatile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.makeRunRoot(); err != nil {
		return err
	}
	return writeJSON(path, v, fsx.WriteFileVolatile)
}

func writeJSON(path string, v any, write func(string, []byte, os.FileMode) error) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return write(path, data, 0o600)
}
