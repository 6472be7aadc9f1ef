package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Where systemd keeps what was set with "systemctl set-property": for good, until
// the next boot, and for a transient unit. It outlives the unit, even a transient
// one (systemd 257) that was there over a daemon-reload, and would be in force for
// the next unit of that name.
const (
	transientDir = "/run/systemd/transient"
	runtimeDir   = "/run/systemd/system.control"
	lastingDir   = "/etc/systemd/system.control"
)

// ForgetProperties removes what was set for a unit with "systemctl set-property".
func (c *Conn) ForgetProperties(unit string) error {
	return forgetProperties(unit, transientDir, runtimeDir, lastingDir)
}

// ForgetTransient removes what was set for a transient unit that is over.
func (c *Conn) ForgetTransient(unit string) error { return forgetProperties(unit, transientDir) }

func forgetProperties(unit string, dirs ...string) error {
	if filepath.Base(unit) != unit {
		return nil // no unit is called so
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(filepath.Join(dir, unit+".d")); err != nil {
			return fmt.Errorf("forget what was set for %s: %w", unit, err)
		}
	}
	return nil
}

// MoveProperties gives what was set for one unit with "systemctl set-property" to
// another, in the place of its own.
func (c *Conn) MoveProperties(from, to string) error {
	if filepath.Base(from) != from || filepath.Base(to) != to {
		return nil // no unit is called so
	}
	for _, dir := range []string{runtimeDir, lastingDir} {
		old := filepath.Join(dir, from+".d")
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := forgetProperties(to, dir); err != nil {
			return err
		}
		if err := os.Rename(old, filepath.Join(dir, to+".d")); err != nil {
			return fmt.Errorf("move what was set for %s: %w", from, err)
		}
	}
	return nil
}
