package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

const (
	// drainGrace is how long the broker waits for a process outside the
	// container that holds on to its output.
	drainGrace = 2 * time.Second

	// drainWait bounds the wait for the journal to take what is left.
	drainWait = 30 * time.Second
)

// end is what systemd says about the end of a service, see systemd.exec(5).
type end struct {
	exitCode      string // $EXIT_CODE: "exited", "killed" or "dumped"
	exitStatus    string // $EXIT_STATUS: a number, or a signal without "SIG"
	serviceResult string // $SERVICE_RESULT
	forkRefused   bool
}

func endFromEnv() end {
	return end{os.Getenv("EXIT_CODE"), os.Getenv("EXIT_STATUS"), os.Getenv("SERVICE_RESULT"), forkRefused()}
}

// code returns the exit code as users see it: 128+n for signal n. Without a
// word from systemd, as after the end of a process that it did not know, it is
// that of cleat's own failures.
func (e end) code() int {
	switch e.exitCode {
	case "exited":
		if n, err := strconv.Atoi(e.exitStatus); err == nil {
			return n
		}
	case "killed", "dumped":
		if n, err := signal.Parse(e.exitStatus); err == nil {
			return 128 + n
		}
	}
	return 125
}

// post records the end of a run of container id and announces it.
func post(ctx context.Context, store *state.Store, id string, e end) error {
	if e.serviceResult == "exec-condition" {
		return nil // there was no start, see due
	}
	annex, err := plan.LoadAnnex(store.Dir(id))
	if errors.Is(err, spec.ErrNotFound) {
		return nil // removed by force while it ran
	}
	if err != nil {
		return err
	}
	defer leaveMachined(annex) // nobody waits for that
	run, err := store.LoadRun(id)
	if err != nil {
		return err
	}
	run.Stopped = store.TakeResting(id) || run.Stopped
	// Trouble with the network or the output must not hide how the run ended.
	trouble := errors.Join(releaseNetwork(ctx, store, id, annex.AutoRemove), drain(ctx, annex))
	if annex.Notify == spec.NotifyContainer {
		trouble = errors.Join(trouble, store.DropNotify(id))
	}
	live, err := store.LoadLive(id)
	if _, failed := sandbox.UserExitCode(e.code()); failed && run.Error != "" {
		err = spec.ErrNotFound // there was a process, but the payload never ran
	}
	switch {
	case err == nil:
		ended := exit{live.StartedAt, time.Now(), e.code(), e.serviceResult == "oom-kill" || oomKilled()}
		tellEnd(store, annex, ended)
		finish(&run, annex, ended)
	case errors.Is(err, spec.ErrNotFound):
		notStarted(&run, e)
		if e.broken() && restarts(annex.Restart, run.ExitCode) {
			run.Error = fmt.Sprintf("the unit is broken (%s, %s): see 'systemctl cat %s'", e.serviceResult, e.exitStatus, annex.Unit)
			fmt.Fprintf(os.Stderr, "cleat-init: %s\n", run.Error) // where it is looked for
			defer giveUp(annex.Unit)
		}
	default:
		return errors.Join(trouble, err)
	}
	return errors.Join(trouble, conclude(ctx, store, annex, run))
}

// The exit codes with which systemd says that it could not execute the program of a
// unit, and why, see systemd.exec(5). From sandbox.ExitFailed on they are ours.
const firstExecFailure, lastExecFailure = 200, sandbox.ExitFailed - 1

// broken reports whether a unit whose payload was never started has been edited into
// something that cannot be executed, or that is not our helper: it never says that it
// is ready. Another program's failure may be that of an ExecStartPre= which is to be
// tried again until it succeeds.
func (e end) broken() bool {
	code := e.code()
	if e.forkRefused {
		return false // for that, it may have come to nothing
	}
	return e.serviceResult == "protocol" || e.exitCode == "exited" && code >= firstExecFailure && code <= lastExecFailure
}

// giveUp keeps systemd from starting the unit, which is about to end, again and
// again: as after any failed start it stays failed, until somebody starts it.
func giveUp(unit string) {
	_, _ = ask(systemctl, "--no-block", "stop", "--", unit) // else systemd tries again
}

// notStarted changes run for a start that came to nothing.
func notStarted(run *state.Run, e end) {
	run.Restarting, run.UnderWay = false, false
	code := e.code()
	_, failed := sandbox.UserExitCode(code)
	switch {
	case failed && run.Error != "":
		return // start has recorded everything
	case code == sandbox.ExitEnough, e.exitCode == "exited" && code == 0 && !e.broken():
		return // no restart, or none any more: the last run's record stays
	}
	run.FinishedAt, run.ExitCode = time.Now(), 125
	run.Error = fmt.Sprintf("the start was interrupted (%s, %s)", e.serviceResult, e.exitStatus)
	if e.forkRefused {
		run.Error = "the limit on processes is too small: a start takes about 12 processes and threads itself"
	}
	if e.exitCode == "killed" || e.exitCode == "dumped" {
		run.ExitCode = code
	}
}

// conclude stores the record of a run that ended, removes the container if it
// was for that run alone, and tells those who wait.
func conclude(ctx context.Context, store *state.Store, a plan.Annex, run state.Run) error {
	var err error
	if a.AutoRemove {
		// Keeps "system check" from taking the files for left over. A start that
		// waits for the end of this unit may hold it; that end is now.
		defer store.TryLock(a.ID).Release()
		if err = hide(ctx, store, a.ID); err == nil {
			tell(store, a, "destroy", time.Now())
		}
	} else {
		err = store.SaveRun(a.ID, run)
	}
	// Those who wait must not do so for ever, whatever went wrong.
	err = errors.Join(err, store.Ended(a.ID, state.Exit{Code: run.ExitCode, Error: run.Error, At: run.FinishedAt}))
	if a.AutoRemove {
		err = errors.Join(err, store.Clear(a.ID)) // nobody has to wait for that
	}
	return err
}

// hide takes away a container, all but its files, and the volumes made for it.
func hide(ctx context.Context, store *state.Store, id string) error {
	c, err := store.Load(id)
	if err != nil {
		return err
	}
	err = errors.Join(store.RemoveAnonymousVolumes(ctx, c), store.HideEphemeral(c))
	tellVolumesGone(store, c)
	return err
}

// drain waits until the journal has everything that the container wrote.
func drain(ctx context.Context, a plan.Annex) error {
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	return stdio.Drain(ctx, a.Stdio.Socket, a.ID, drainGrace)
}

// oomKilled reports whether the kernel killed a process of the unit for want of
// memory.
func oomKilled() bool { return counted("memory.events", "oom_kill") }

// forkRefused reports whether the kernel refused the unit a process or a thread,
// because of its limit on them.
func forkRefused() bool { return counted("pids.events", "max") }

// counted reports whether the kernel has counted an event in the unit's control
// group. Without the controller nobody knows.
func counted(file, event string) bool {
	cgroup, err := ownCgroup()
	if err != nil {
		return false
	}
	events, err := os.ReadFile("/sys/fs/cgroup" + cgroup + "/" + file)
	return err == nil && countOf(string(events), event) > 0
}

// countOf returns the number beside the name of an event.
func countOf(events, event string) int {
	for line := range strings.Lines(events) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), event+" "); ok {
			n, _ := strconv.Atoi(count) // the kernel writes numbers
			return n
		}
	}
	return 0
}
