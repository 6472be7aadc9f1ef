package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where systemd keeps what was set with SetProperties, or "systemctl set-property":
// of a transient unit, until the next boot, and for good. It outlives the unit, even
// a transient one (systemd 257) that was there over a daemon-reload, and would be in
// force for the next unit of that name.
const (
	transientDir = "/run/systemd/transient"
	runtimeDir   = "/run/systemd/system.control"
	lastingDir   = "/etc/systemd/system.control"
)

// ForgetProperties removes whatever was set for a unit that is over and will not
// come back.
func (c *Conn) ForgetProperties(unit string) error {
	return forgetProperties(unit, transientDir, runtimeDir, lastingDir)
}

// ForgetTransient removes what was set for a transient unit that is over.
func (c *Conn) ForgetTransient(unit string) error { return forgetProperties(unit, transientDir) }

// ForgetRuntime removes what was set for a unit that is over, but for good.
func (c *Conn) ForgetRuntime(unit string) error {
	return forgetProperties(unit, transientDir, runtimeDir)
}

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

// SetsLasting reports whether a property of a unit was set for good.
func (c *Conn) SetsLasting(unit, property string) bool {
	_, err := os.Lstat(settingFile(lastingDir, unit, property))
	return err == nil
}

// ForgetUntilBoot removes what was set of a property until the next boot. systemd
// takes note at its next reload.
func (c *Conn) ForgetUntilBoot(unit, property string) error {
	err := os.Remove(settingFile(runtimeDir, unit, property))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget %s= of %s: %w", property, unit, err)
	}
	return nil
}

// settingFile returns the drop-in in which systemd keeps a property, under the name
// that it has in unit files.
func settingFile(dir, unit, property string) string {
	return filepath.Join(dir, unit+".d", "50-"+strings.TrimSuffix(property, "PerSecUSec")+".conf")
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
