package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

// checkEphemeral finds containers with --rm that a power cut or crash of the host
// ended, or that were never started before. As Docker does when its daemon
// starts, they are removed.
func (e *Engine) checkEphemeral(ctx context.Context, repair bool) ([]Finding, error) {
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range ids {
		c, err := e.state.Load(id)
		if isNotFound(err) || err == nil && (!c.AutoRemove || !c.Created.Before(boot)) {
			continue
		}
		if err != nil {
			continue // checkContainers tells
		}
		st, err := e.status(ctx, c)
		if err != nil {
			return found, err
		}
		if st != StatusCreated && st != StatusExited {
			continue
		}
		f := Finding{Object: fmt.Sprintf("container %q", c.Name), Problem: "was to remove itself, and was not removed before the last boot"}
		if repair {
			if err := e.Remove(ctx, c.ID, RemoveOptions{Volumes: true}); err != nil && !isNotFound(err) {
				return found, err
			}
			f.Repaired = true
		}
		found = append(found, f)
	}
	return found, nil
}

// bootTime returns when this machine, or this embedded host, was started: the
// start of its PID 1, see proc_pid_stat(5).
func bootTime() (time.Time, error) {
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return time.Time{}, err
	}
	const startTime = 22 - 3 // its field, counted from the one behind the name
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= startTime {
		return time.Time{}, fmt.Errorf("parse /proc/1/stat: %d fields", len(fields))
	}
	const ticksPerSecond = 100 // USER_HZ, the same everywhere
	ticks, err := strconv.ParseInt(fields[startTime], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse /proc/1/stat: %w", err)
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("read clock: %w", err)
	}
	return time.Now().Add(time.Duration(ticks)*time.Second/ticksPerSecond - time.Duration(up.Nano())), nil
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
