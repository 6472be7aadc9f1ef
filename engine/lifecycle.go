package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// Start starts a created or stopped container and returns once systemd says it
// runs. Starting one that runs is no error. If the payload cannot be executed,
// the error is a *StartError.
func (e *Engine) Start(ctx context.Context, ref string) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	if c.Source != nil {
		return e.startDescribed(ctx, c) // its unit takes the lock
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error { return e.start(ctx, c) })
}

func (e *Engine) start(ctx context.Context, c spec.Container) error {
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if up, err := e.isUp(ctx, c); err != nil || up {
		return err
	}
	r, err := e.readyUnits(ctx, c)
	if err != nil {
		return err
	}
	if c.Activated() {
		if err := e.openSockets(ctx, conn, r); err != nil {
			return err
		}
		err = conn.Start(ctx, r.c.UnitName())
	} else {
		err = e.startUnits(ctx, conn, r.c, r.units, r.ports)
	}
	if err == nil {
		return e.confirmStart(ctx, r.c)
	}
	return e.explainStart(ctx, r.c, err)
}

// startUnits starts the units of a container: its service and, if it publishes
// ports, the socket that reserves them. A socket that is still there from a run
// that is over is in the way for a moment: then it is tried again.
func (e *Engine) startUnits(ctx context.Context, conn *supervisor.Conn, c spec.Container, units []unitgen.Unit, ports []spec.Port) error {
	start := e.startTransient
	if c.Restart.Boot() {
		start = e.startBoot
	}
	if err := checkHostAddresses(ports); err != nil {
		return err
	}
	forget := conn.ForgetRuntime
	if c.Restart.Boot() {
		forget = conn.ForgetTransient
	}
	if err := forget(units[0].Name); err != nil {
		return err
	}
	var err error
	for range portAttempts {
		err = start(ctx, conn, c, units)
		var job *supervisor.JobError
		if len(units) == 1 || !errors.As(err, &job) || job.Result != "dependency" {
			return err
		}
		if taken := e.portTaken(ctx, conn, c, ports); taken != nil {
			return errors.Join(taken, e.discardUnstarted(ctx, c))
		}
	}
	return err
}

// portAttempts is how often a start is tried whose ports seem to be free.
const portAttempts = 3

// discardUnstarted removes a container that was for one run alone, if systemd has
// not come to run anything of it: then nobody else does.
func (e *Engine) discardUnstarted(ctx context.Context, c spec.Container) error {
	if !c.AutoRemove {
		return nil
	}
	return e.remove(context.WithoutCancel(ctx), c, RemoveOptions{Volumes: true})
}

// confirmStart waits for the word that the payload was really executed: systemd
// reports the unit as up just before.
func (e *Engine) confirmStart(ctx context.Context, c spec.Container) error {
	executed, err := e.state.AwaitStart(c.ID)
	if err != nil {
		return err
	}
	if !executed { // the reason comes with the end of the run, which is near
		ctx, cancel := context.WithTimeout(ctx, confirmWait)
		defer cancel()
		if _, err := e.awaitEnd(ctx, c); errors.Is(err, context.DeadlineExceeded) {
			return nil // the helper was killed between the exec and its word for it
		} else if err != nil {
			return err
		}
	}
	if _, err := e.state.LoadLive(c.ID); err == nil {
		return nil // what the exit tells is how another run ended, that this one waited for
	}
	if exit, err := e.state.LoadExit(c.ID); err == nil && exit.Error != "" {
		return &StartError{Name: c.Name, Code: exit.Code, Message: exit.Error}
	}
	return nil
}

// confirmWait is far longer than the end of a failed start takes.
const confirmWait = 10 * time.Second

// isUp reports whether c runs; a paused one is an error. Only a container with
// a run under way is asked for: that spares most starts a call to systemd.
func (e *Engine) isUp(ctx context.Context, c spec.Container) (bool, error) {
	if _, err := e.state.LoadLive(c.ID); isNotFound(err) {
		return false, nil
	}
	st, err := e.status(ctx, c)
	if err == nil && st == StatusPaused {
		err = conflict("container %q is paused: unpause it first", c.Name)
	}
	return st == StatusRunning, err
}

// noteManualStart zeroes what counts automatic restarts. An ephemeral container
// has no earlier run.
func (e *Engine) noteManualStart(c spec.Container) error {
	if err := e.state.ForgetExit(c.ID); err != nil {
		return err
	}
	run, err := e.state.LoadRun(c.ID)
	if err != nil {
		return err
	}
	if err := e.state.SetStopped(c.ID, false); err != nil {
		return err
	}
	next := run
	next.Restarting, next.RestartCount, next.Consecutive, next.Error = false, 0, 0, ""
	next.UnderWay = c.Restart.Mode == spec.RestartOnFailure
	if next == run {
		return nil
	}
	return e.state.SaveRun(c.ID, next)
}

// startTransient starts an ordinary container. The unit of a run that is just
// ending may still be there for some milliseconds, or that of a start whose
// command was killed; its end is waited for, once.
func (e *Engine) startTransient(ctx context.Context, conn *supervisor.Conn, c spec.Container, units []unitgen.Unit) error {
	err := conn.StartTransient(ctx, units[0], units[1:]...)
	if !errors.Is(err, spec.ErrExists) {
		return err
	}
	for _, u := range units {
		if err := settle(ctx, conn, u.Name); err != nil {
			return err
		}
		if err := dropUnitFile(ctx, conn, u.Name); err != nil { // of when it was a boot service
			return err
		}
	}
	// What has ended now has told how. That is not how the run ends that begins.
	if err := e.noteManualStart(c); err != nil {
		return err
	}
	err = conn.StartTransient(ctx, units[0], units[1:]...)
	if !errors.Is(err, spec.ErrExists) {
		return err
	}
	for _, u := range units { // others refer to it, such as those that come after it
		if err := conn.DropTransient(ctx, u.Name); err != nil {
			return err
		}
	}
	return conn.StartTransient(ctx, units[0], units[1:]...)
}

// settle ends what is left of a unit whose run is over.
func settle(ctx context.Context, conn *supervisor.Conn, name string) error {
	if err := conn.Stop(ctx, name); err != nil && !isNotFound(err) {
		return fmt.Errorf("wait for the end of the last run: %w", err)
	}
	if err := conn.ResetFailed(ctx, name); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

// startBoot starts a container that comes back at boot: its units are files.
func (e *Engine) startBoot(ctx context.Context, conn *supervisor.Conn, c spec.Container, units []unitgen.Unit) error {
	if err := e.writeUnitFiles(ctx, conn, c, units, true); err != nil {
		return err
	}
	for _, u := range units {
		if err := refresh(ctx, conn, u.Name); err != nil {
			return err
		}
	}
	service := units[0].Name
	err := conn.Start(ctx, service)
	if !isNotFound(err) {
		return err
	}
	// The last run was that of a transient unit, which became a service meanwhile
	// (update --restart): systemd remembers where that unit's file was.
	if err := conn.Reload(ctx); err != nil {
		return err
	}
	return conn.Start(ctx, service)
}

// refresh makes systemd read a unit file again that it has read before. It
// keeps a unit as it was read for as long as another one, such as
// multi-user.target after a boot, refers to it.
func refresh(ctx context.Context, conn *supervisor.Conn, name string) error {
	props, err := conn.Properties(ctx, name)
	if err != nil || !props.NeedReload {
		return err
	}
	return conn.Reload(ctx)
}

// explainStart replaces systemd's "job failed" by what the start helper said.
func (e *Engine) explainStart(ctx context.Context, c spec.Container, err error) error {
	if len(c.Requires) > 0 {
		if conn, connErr := e.systemd(ctx); connErr == nil {
			if why := e.explainRequired(ctx, conn, c); why != "" {
				return errors.Join(&StartError{Name: c.Name, Code: 125, Message: why}, e.discardUnstarted(ctx, c))
			}
		}
	}
	var job *supervisor.JobError
	if !errors.As(err, &job) {
		return err
	}
	if job.Result == "dependency" {
		if why := e.explainMounts(ctx, c); why != "" {
			return errors.Join(&StartError{Name: c.Name, Code: 125, Message: why}, e.discardUnstarted(ctx, c))
		}
	}
	exit, exitErr := e.state.LoadExit(c.ID)
	if exitErr == nil && exit.Error == "" && c.Notify != spec.NotifyStarted {
		return &StartError{Name: c.Name, Code: cmp.Or(exit.Code, 125), Message: fmt.Sprintf("it ended with exit code %d before it was ready (--sdnotify=%s)", exit.Code, c.Notify)}
	}
	if exitErr != nil || exit.Error == "" {
		return &StartError{Name: c.Name, Code: 125, Message: fmt.Sprintf("%v; see 'journalctl -u %s'", job, c.UnitName())}
	}
	return &StartError{Name: c.Name, Code: exit.Code, Message: exit.Error}
}

// Stop stops a container: its stop signal, then SIGKILL after the grace period.
// Stopping one that does not run is no error. A stop signal that can have no
// effect on the payload is followed by SIGKILL at once, unless a grace period
// was asked for.
func (e *Engine) Stop(ctx context.Context, ref string, opt StopOptions) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if c.Activated() { // first, so that nothing starts it again
		if err := e.stopWaiting(ctx, conn, c); err != nil {
			return err
		}
	}
	unit := c.UnitName()
	props, err := conn.Properties(ctx, unit)
	if isNotFound(err) || err == nil && !hasProcesses(props) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := e.noteStopped(c); err != nil {
		return err
	}
	if props.FreezerState != freezerRuns || frozen(c) {
		if err := setFrozen(ctx, conn, c, false); err != nil {
			return err
		}
	}
	if err := e.end(ctx, conn, c, int(props.MainPID), opt); err != nil {
		return err
	}
	if err := conn.Stop(ctx, unit); err != nil && !isNotFound(err) {
		return fmt.Errorf("stop %q: %w", c.Name, err)
	}
	if publishes(c) { // so that others can have the ports when this returns
		if err := e.freePorts(ctx, conn, c); err != nil {
			return err
		}
	}
	e.tellContainer(c, "stop")
	if c.Restart.Mode == spec.RestartUnlessStopped {
		return e.disable(ctx, conn, c) // a manual stop lasts over a reboot
	}
	return nil
}

// end brings the payload down if systemd's own stop, with the unit's signal and
// timeout, is not what was asked for.
func (e *Engine) end(ctx context.Context, conn *supervisor.Conn, c spec.Container, pid int, opt StopOptions) error {
	sig, err := signal.Parse(cmp.Or(opt.Signal, c.StopSignal, "SIGTERM"))
	if err != nil {
		return err
	}
	if pid == 0 {
		return nil
	}
	askedGrace := opt.Grace != nil || c.StopTimeout != nil
	if !askedGrace && !hasEffect(c, pid, sig) {
		return e.kill(ctx, conn, c)
	}
	if opt.Signal == "" && opt.Grace == nil {
		e.tellContainer(c, "kill", "signal", strconv.Itoa(sig))
		return nil // systemd's stop does just that
	}
	grace := spec.DefaultStopTimeout
	if c.StopTimeout != nil {
		grace = *c.StopTimeout
	}
	if opt.Grace != nil {
		grace = *opt.Grace
	}
	if grace == 0 {
		return e.kill(ctx, conn, c)
	}
	proc, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer proc.close()
	e.tellContainer(c, "kill", "signal", strconv.Itoa(sig))
	if err := conn.Kill(ctx, c.UnitName(), supervisor.Main, sig); err != nil && !isNotFound(err) {
		return fmt.Errorf("signal %q: %w", c.Name, err)
	}
	gone, err := proc.wait(ctx, grace)
	if err != nil || gone {
		return err
	}
	return e.kill(ctx, conn, c)
}

// kill sends SIGKILL to the payload. The rest goes with it: the kernel kills what
// is in its PID namespace, systemd what is left in its control group. Killing
// all at once could hit the command that records how the run ended.
func (e *Engine) kill(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	e.tellContainer(c, "kill", "signal", strconv.Itoa(sigKill))
	if err := conn.Kill(ctx, c.UnitName(), supervisor.Main, sigKill); err != nil && !isNotFound(err) {
		return fmt.Errorf("kill %q: %w", c.Name, err)
	}
	return nil
}

// noteStopped records that no automatic restart is wanted.
func (e *Engine) noteStopped(c spec.Container) error {
	if c.Restart.Mode == spec.RestartNo || c.Restart.Mode == "" {
		return nil
	}
	return e.state.SetStopped(c.ID, true)
}

// Restart stops a container and starts it again.
func (e *Engine) Restart(ctx context.Context, ref string, opt StopOptions) error {
	if c, err := e.state.Find(ref); err == nil && c.Activated() {
		err := e.withLock(ctx, c.ID, func(c spec.Container) error { return e.restartOpen(ctx, c, opt) })
		if err == nil {
			e.tellContainer(c, "restart")
		}
		return err
	}
	if err := e.Stop(ctx, ref, opt); err != nil {
		return err
	}
	if err := e.Start(ctx, ref); err != nil {
		return err
	}
	if c, err := e.state.Find(ref); err == nil { // it may be over, and have removed itself
		e.tellContainer(c, "restart")
	}
	return nil
}

// Kill sends the signal called name, SIGKILL if that is "", to the container's main process.
// As in Docker, a container is not restarted after it was killed on purpose: by
// SIGKILL, by its stop signal, or, if it has not set one, by any.
func (e *Engine) Kill(ctx context.Context, ref, name string) error {
	sig, err := signal.Parse(cmp.Or(name, "SIGKILL"))
	if err != nil {
		return err
	}
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if st, err := e.status(ctx, c); err != nil {
		return err
	} else if st != StatusRunning && st != StatusPaused {
		return conflict("cannot kill container %q: it is not running", c.Name)
	}
	own, _ := signal.Parse(c.StopSignal)
	if c.StopSignal == "" || sig == sigKill || sig == own {
		if err := e.noteStopped(c); err != nil {
			return err
		}
	}
	e.tellContainer(c, "kill", "signal", strconv.Itoa(sig))
	if err := conn.Kill(ctx, c.UnitName(), supervisor.Main, sig); err != nil && !(sig == sigKill && isNotFound(err)) {
		return fmt.Errorf("kill %q: %w", c.Name, err)
	}
	if sig != sigKill {
		return nil
	}
	_, err = e.Wait(ctx, c.ID, WaitNotRunning)
	return err
}

// Pause freezes all processes of a running container.
func (e *Engine) Pause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, StatusRunning)
}

// Unpause lets a paused container go on.
func (e *Engine) Unpause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, StatusPaused)
}

func (e *Engine) freeze(ctx context.Context, ref string, from Status) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	st, err := e.status(ctx, c)
	if err != nil {
		return err
	}
	if st != from {
		return conflict("container %q is %s, not %s", c.Name, st, from)
	}
	if from == StatusRunning {
		e.forgetAbandoned(c)
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if err := setFrozen(ctx, conn, c, from == StatusRunning); err != nil {
		return err
	}
	e.tellContainer(c, map[Status]string{StatusRunning: "pause", StatusPaused: "unpause"}[from])
	return nil
}

// Remove deletes a container that does not run, or any with Force.
func (e *Engine) Remove(ctx context.Context, ref string, opt RemoveOptions) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	if opt.Force {
		if err := e.forceDown(ctx, c); err != nil {
			return err
		}
	}
	// What an interrupted change has left goes with the container.
	err = e.state.WithLock(ctx, c.ID, func(c spec.Container) error {
		if opt.Force { // somebody may have started it since; now nobody can
			if err := e.forceDown(ctx, c); err != nil {
				return err
			}
		}
		return e.remove(ctx, c, opt)
	})
	if isNotFound(err) && opt.Force && c.AutoRemove {
		return nil // its own clean-up was faster
	}
	return err
}

// forceDown ends a container at once, whatever its state.
func (e *Engine) forceDown(ctx context.Context, c spec.Container) error {
	atOnce := time.Duration(0)
	return e.Stop(ctx, c.ID, StopOptions{Grace: &atOnce})
}

// remove deletes c, whose lock is held.
func (e *Engine) remove(ctx context.Context, c spec.Container, opt RemoveOptions) error {
	st, err := e.status(ctx, c)
	if err != nil {
		return err
	}
	if st == StatusRunning || st == StatusPaused || st == StatusRestarting {
		return conflict("cannot remove container %q: it is %s: stop it first, or force the removal", c.Name, st)
	}
	if st != StatusCreated || hasUnitFiles(c) {
		if err := e.removeUnit(ctx, c); err != nil {
			return err
		}
	}
	withVolumes := opt.Volumes || c.AutoRemove
	if !withVolumes {
		if err := e.state.KeepAnonymousVolumes(c); err != nil {
			return err
		}
	}
	if err := e.state.Hide(c); err != nil {
		return err
	}
	e.tellContainer(c, "destroy")
	if withVolumes {
		if err := e.state.RemoveAnonymousVolumes(ctx, c); err != nil {
			return err
		}
		e.tellVolumesGone(c)
	}
	if err := e.wires().Forget(c.ID); err != nil {
		return err
	}
	if err := e.state.Clear(c.ID); err != nil { // last, because it gives up the lock
		return err
	}
	if c.AutoRemove {
		return e.announceGone(c)
	}
	return e.state.ForgetExit(c.ID)
}

// announceGone tells those who wait for the end of an ephemeral container that it
// is gone without a run, unless its run has told how it ended.
func (e *Engine) announceGone(c spec.Container) error {
	if _, err := e.state.LoadExit(c.ID); !isNotFound(err) {
		return err
	}
	return e.state.Ended(c.ID, state.Exit{At: time.Now()})
}

func (e *Engine) removeUnit(ctx context.Context, c spec.Container) error {
	if c.Source != nil { // and may be the one that this process is run by
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if err := conn.ForgetProperties(c.UnitName()); err != nil {
		return err
	}
	return e.dropUnits(ctx, conn, c)
}
