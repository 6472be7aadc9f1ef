package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// WriteUnitFile writes a unit file into UnitDir, atomically
// and durably. systemd reads a file that is new, or whose unit it has dropped,
// without a daemon-reload; NeedReload tells when one is needed.
func (c *Conn) WriteUnitFile(_ context.Context, name, text string) error {
	path, err := c.unitFile(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.unitDir, 0o755); err != nil {
		return fmt.Errorf("write unit file %s: %w", path, err)
	}
	if c.UnitFileIs(name, text) {
		return nil // a new file would ask for a daemon-reload
	}
	if err := fsx.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write unit file %s: %w", path, err)
	}
	return nil
}

// HasUnitFile reports whether WriteUnitFile has written a file of that name.
func (c *Conn) HasUnitFile(name string) bool {
	path, err := c.unitFile(name)
	return err == nil && fsx.Exists(path)
}

// UnitFileIs reports whether WriteUnitFile with this text would change nothing.
func (c *Conn) UnitFileIs(name, text string) bool {
	path, err := c.unitFile(name)
	if err != nil {
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && string(have) == text
}

// RemoveUnitFile removes a unit file that WriteUnitFile wrote. One that is not
// there is no error.
func (c *Conn) RemoveUnitFile(_ context.Context, name string) error {
	path, err := c.unitFile(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove unit file %s: %w", path, err)
	}
	return nil
}

func (c *Conn) unitFile(name string) (string, error) {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name {
		return "", fmt.Errorf("unit file name %q: %w", name, spec.ErrInvalid)
	}
	return filepath.Join(c.unitDir, name), nil
}

// Enable makes the unit start at boot, as its [Install] section says. The
// running systemd takes note of the new links at its next reload, which needs
// not come before the next boot.
func (c *Conn) Enable(ctx context.Context, unit string) error {
	const runtime, force = false, true
	file := unit
	if path, err := c.unitFile(unit); err == nil && fsx.Exists(path) {
		file = path // by name, systemd would find the unit's transient file first while that runs
	}
	if _, err := c.call(ctx, "EnableUnitFiles", []string{file}, runtime, force); err != nil {
		return fmt.Errorf("enable %s: %w", unit, err)
	}
	return nil
}

// Disable takes Enable back. It also works when the unit file is gone already.
func (c *Conn) Disable(ctx context.Context, unit string) error {
	const runtime = false
	if _, err := c.call(ctx, "DisableUnitFiles", []string{unit}, runtime); err != nil && !isNotFound(err) {
		return fmt.Errorf("disable %s: %w", unit, err)
	}
	return nil
}

// DropTransient makes systemd forget a transient unit that is over. It does so by
// itself, unless another unit refers to that one: then its name is taken until a
// daemon-reload that does not find its file. One that is at work stays.
func (c *Conn) DropTransient(ctx context.Context, name string) error {
	p, err := c.Properties(ctx, name)
	if err != nil || p.Active() || p.FragmentPath != filepath.Join(transientDir, name) {
		return err
	}
	for _, path := range []string{p.FragmentPath, p.FragmentPath + ".d"} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("drop transient unit %s: %w", name, err)
		}
	}
	return c.Reload(ctx)
}

// Reload makes systemd read all unit files again (daemon-reload). It costs PID
// 1 time in proportion to the units it has, so nothing on a hot path calls it.
func (c *Conn) Reload(ctx context.Context) error {
	if _, err := c.call(ctx, "Reload"); err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	return nil
}

// Reexecute makes systemd replace itself by its binary on disk
// (daemon-reexec). It returns once the old one has taken the order; the next
// call waits for the new one.
func (c *Conn) Reexecute(ctx context.Context) error {
	// There is no reply: systemd drops its connections.
	if _, err := c.call(ctx, "Reexecute"); err != nil && !errors.Is(err, errLost) {
		return fmt.Errorf("re-execute systemd: %w", err)
	}
	return nil
}

func isNotFound(err error) bool { return errors.Is(err, spec.ErrNotFound) }
