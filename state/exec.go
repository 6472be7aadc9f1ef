package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// The records of further commands of containers lie below the runtime root: a
// reboot ends the commands and voids the records alike. Who makes them decides
// what is in them.

// SaveExec stores the record of the command id, which is 64 hex digits.
func (s *Store) SaveExec(id string, record any) error {
	if err := os.MkdirAll(s.execDir(), 0o700); err != nil { // they hold environments
		return err
	}
	return writeJSON(s.execPath(id), record, fsx.WriteFileVolatile)
}

// LoadExec reads the record of the command id. One that is not there, or whose
// id is none, is spec.ErrNotFound.
func (s *Store) LoadExec(id string, record any) error {
	if !isID(id) {
		return spec.ErrNotFound
	}
	return fsx.ReadJSON(s.execPath(id), record)
}

// ClaimExec takes the start of the command id, which can be had once. It
// returns spec.ErrExists if somebody has it.
func (s *Store) ClaimExec(id string) error {
	f, err := os.OpenFile(s.execPath(id)+claimSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return spec.ErrExists
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// ExecIDs returns the ids of all records that have not changed since before.
func (s *Store) ExecIDs(before time.Time) ([]string, error) {
	entries, err := os.ReadDir(s.execDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if info, err := e.Info(); isID(e.Name()) && err == nil && info.ModTime().Before(before) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// RemoveExec forgets the command id.
func (s *Store) RemoveExec(id string) error {
	err := errors.Join(os.Remove(s.execPath(id)), os.Remove(s.execPath(id)+claimSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const claimSuffix = ".started"

func (s *Store) execDir() string { return filepath.Join(s.runRoot, "exec") }

func (s *Store) execPath(id string) string { return filepath.Join(s.execDir(), id) }

// isID reports whether s has the form of an id, which makes it a safe file name.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
