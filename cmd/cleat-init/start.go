package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// brokerWait bounds the wait for the stdio broker, which systemd starts when it
// is needed.
const brokerWait = 30 * time.Second

// start runs container id and returns the exit code of the program, with the
// payload left running if that is 0.
func start(ctx context.Context, store *state.Store, id string) int {
	run, err := store.LoadRun(id)
	if err != nil {
		return report(err)
	}
	p, err := plan.LoadStart(store.Dir(id))
	if err != nil {
		return fail(store, id, run, err)
	}
	kind := kindOf(p.Annex, run, time.Now())
	if _, err := store.LoadExit(id); errors.Is(err, spec.ErrNotFound) {
		kind = manual // no run has ended since the boot, however quick that was
	}
	if kind != manual {
		if kind, err = awaitTurn(kind, p.Annex, run); err != nil {
			return 0 // stopped meanwhile; the record stays that of the last run
		}
	}
	if kind == refused {
		return sandbox.ExitEnough
	}
	if err := recordStart(store, p.Annex, &run, kind); err != nil {
		return fail(store, id, run, err)
	}
	if err := launch(ctx, store, p, run); err != nil {
		return sandbox.ExitOf(err)
	}
	return 0
}

// errStopped says that a signal to stop came before the payload was started.
var errStopped = errors.New("stopped")

// awaitTurn looks closer at a start that seems to be a restart by systemd, and
// waits until it is due. A signal to stop meanwhile is errStopped.
func awaitTurn(kind startKind, a plan.Annex, run state.Run) (startKind, error) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.Signal(a.StopSignal), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(stop)
	var d time.Duration
	switch {
	case !bySystemd(a.Unit):
		kind = manual
	case kind == automatic:
		d = delay(run.Consecutive) - unitDelay
	}
	due := time.After(d)
	select {
	case <-stop:
		return kind, errStopped
	case <-due:
	}
	select { // of both, the signal counts
	case <-stop:
		return kind, errStopped
	default:
		return kind, nil
	}
}

// recordStart makes the record that of a container that is being started. Most
// starts are the first and have nothing to write, which would take a while.
func recordStart(store *state.Store, a plan.Annex, run *state.Run, k startKind) error {
	if run.Stopped {
		if err := store.SetStopped(a.ID, false); err != nil {
			return err
		}
	}
	if !begin(run, k, a) {
		return nil
	}
	return store.SaveRun(a.ID, *run)
}

// fail records why the container could not be started, reports it, and returns
// the exit code.
func fail(store *state.Store, id string, run state.Run, err error) int {
	exit := report(err)
	run.Error, run.Restarting, run.UnderWay = err.Error(), false, false
	run.ExitCode, _ = sandbox.UserExitCode(exit)
	run.FinishedAt = time.Now()
	if err := store.SaveRun(id, run); err != nil {
		return report(fmt.Errorf("record failure: %w", err))
	}
	return exit
}

// launch starts the payload and records that it runs.
func launch(ctx context.Context, store *state.Store, p plan.Plan, run state.Run) error {
	a := p.Annex
	mountPoint := filepath.Join(store.RunRoot(), "root")
	if err := os.MkdirAll(mountPoint, 0o700); err != nil {
		fail(store, a.ID, run, err)
		return err
	}
	notice, err := prepareNotice(store, a)
	if err != nil {
		fail(store, a.ID, run, err)
		return err
	}
	defer notice.close()
	network, err := prepareNetwork(ctx, store, p)
	if err != nil {
		fail(store, a.ID, run, err)
		return err
	}
	var starting *state.Starting // its lock is held until this process ends
	opt := sandbox.LaunchOptions{
		Dir:          store.Dir(a.ID),
		MountPoint:   mountPoint,
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
		ReadyLater:   a.Notify != spec.NotifyStarted,
		Env:          notice.env(),
		PID: func(id string) (int, error) {
			live, err := store.LoadLive(id)
			return live.PID, err
		},
		Register: func(pid int, s sandbox.Streams) error { return register(ctx, a, pid, s) },
		Starting: func(pid int) (err error) {
			starting, err = store.SaveStarting(a.ID, state.Live{PID: pid, StartedAt: time.Now(), InvocationID: os.Getenv("INVOCATION_ID")})
			return err
		},
		Started: func() error {
			tell(store, a, "start", time.Now())
			err := starting.Confirm()
			introduce(store, a)
			return errors.Join(err, notice.enlist(a))
		},
		Failed: func(err error) { fail(store, a.ID, run, err) },
		Warn:   func(sentence string) { fmt.Fprintf(os.Stderr, "cleat-init: warning: %s\n", sentence) },
	}
	if network != nil {
		opt.Connect, opt.Env = func(pid int) error { return network.plug(ctx, pid) }, append(opt.Env, network.env...)
	}
	if err := takeSockets(a, &opt); err != nil {
		fail(store, a.ID, run, err)
		return err
	}
	return sandbox.Launch(p, opt)
}

// register hands the payload's stdio to the broker.
func register(ctx context.Context, a plan.Annex, pid int, s sandbox.Streams) error {
	ctx, cancel := context.WithTimeout(ctx, brokerWait)
	defer cancel()
	reg := stdio.Registration{
		ID: a.ID, Name: a.Name, Unit: a.Unit, PID: pid,
		Log: a.Stdio.Log, Fields: a.Stdio.Fields, StdinOnce: a.Stdio.StdinOnce,
	}
	files := stdio.Files{Master: s.Master, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr}
	if err := stdio.Register(ctx, a.Stdio.Socket, reg, files); err != nil {
		return fmt.Errorf("the stdio broker (cleat-stdiod) cannot be reached: %w", err)
	}
	return nil
}
