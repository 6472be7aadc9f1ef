package engine

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// checkRuns finds runs whose end nobody has recorded: the command of the unit
// that does so was killed as well.
func (e *Engine) checkRuns(ctx context.Context, repair bool) ([]Finding, error) {
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range ids {
		if _, err := e.state.LoadLive(id); isNotFound(err) {
			continue
		} else if err != nil {
			return found, err
		}
		// A start under way has the lock, and a record before it has a unit.
		err := e.state.WithLock(ctx, id, func(c spec.Container) error {
			lost, err := e.isLost(ctx, c)
			if err != nil || !lost {
				return err
			}
			f := Finding{Object: fmt.Sprintf("container %q", c.Name), Problem: "the end of its run was not recorded"}
			if repair {
				err = e.recordEnd(ctx, c)
				f.Repaired = err == nil
			}
			found = append(found, f)
			return err
		})
		if err != nil && !isNotFound(err) {
			return found, err
		}
	}
	return found, nil
}

// isLost reports whether c has a record of a run, but no unit that it could be
// in. The unit is looked at first: what ends in between takes its record along.
func (e *Engine) isLost(ctx context.Context, c spec.Container) (bool, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return false, err
	}
	props, err := conn.Properties(ctx, c.UnitName())
	if err != nil && !isNotFound(err) || err == nil && hasProcesses(props) {
		return false, err
	}
	_, err = e.state.LoadLive(c.ID)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// recordEnd does what the unit would have done after the run. How it ended is not
// known any more, so its exit code is 125.
func (e *Engine) recordEnd(ctx context.Context, c spec.Container) error {
	helper := filepath.Join(e.opt.Libexec, initProgram)
	cmd := exec.CommandContext(ctx, helper, "--root", e.opt.Root, "--runroot", e.opt.RunRoot, "post", c.ID)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("record the end of %q: %w: %s", c.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
