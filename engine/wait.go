package engine

import (
	"context"
	"slices"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
)

// Wait waits as cond says and returns the exit code of the container's run.
// When it returns, all output of that run is in the journal. Ref may be the id
// of a container that removes itself when its run ends, and has done so.
func (e *Engine) Wait(ctx context.Context, ref string, cond WaitCondition) (int, error) {
	w, err := e.BeginWait(ctx, ref, cond)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	return w.End(ctx)
}

// Waiting is a wait that has begun: nothing that happens from now on is missed.
type Waiting struct {
	e       *Engine
	c       spec.Container
	cond    WaitCondition
	changes changes
	before  state.Exit // of the run that was the last one when the wait began

	gone error // why there is no such container; it may have just removed itself
	id   string
}

// BeginWait begins what Wait does, so that the caller can start the container
// after it has begun to wait for its end. The caller ends the wait and closes
// it.
func (e *Engine) BeginWait(ctx context.Context, ref string, cond WaitCondition) (*Waiting, error) {
	c, err := e.state.Find(ref)
	if isNotFound(err) && len(ref) == 64 {
		return &Waiting{e: e, id: ref, gone: err}, nil
	}
	if err != nil {
		return nil, err
	}
	w := &Waiting{e: e, c: c, cond: cond}
	if w.changes, err = e.changes(ctx, c, cond); err != nil {
		return nil, err
	}
	w.before, err = e.state.LoadExit(c.ID)
	if err != nil && !isNotFound(err) {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close ends the wait early.
func (w *Waiting) Close() {
	if w.changes != nil {
		w.changes.Close()
		w.changes = nil
	}
}

// End waits for the end of what was begun.
func (w *Waiting) End(ctx context.Context) (int, error) {
	e, c := w.e, w.c
	if w.gone != nil {
		return e.waitRemoved(ctx, w.id, w.gone)
	}
	if w.cond == WaitNotRunning {
		v, err := e.Get(ctx, c.ID)
		if err != nil && !isNotFound(err) {
			return 0, err
		}
		if err == nil && (slices.Contains([]Status{StatusExited, StatusDead, StatusCreated, StatusSleeping}, v.Status)) {
			return v.Run.ExitCode, nil
		}
	}
	for {
		exit, err := e.state.LoadExit(c.ID)
		if err != nil && !isNotFound(err) {
			return 0, err
		}
		announced := err == nil && !exit.At.Equal(w.before.At)
		if announced && w.cond != WaitRemoved {
			return exit.Code, nil
		}
		if _, err := e.state.Load(c.ID); isNotFound(err) && (announced || !c.AutoRemove) {
			return exit.Code, nil // an ephemeral container announces its exit after its removal
		}
		if err := w.changes.Next(ctx); err != nil {
			return 0, err
		}
	}
}

// WaitEnd waits for the end of the run that the caller has started, and of the
// container itself if it is ephemeral, and returns the exit code.
func (e *Engine) WaitEnd(ctx context.Context, c Container) (int, error) {
	exit, err := e.awaitEnd(ctx, c.Container)
	return exit.Code, err
}

// awaitEnd waits for the announcement of a run's end. That of an earlier run
// was forgotten when this one was started.
func (e *Engine) awaitEnd(ctx context.Context, c spec.Container) (state.Exit, error) {
	changes, err := e.unitChanges(ctx, c)
	if err != nil {
		return state.Exit{}, err
	}
	defer changes.Close()
	for {
		exit, err := e.state.LoadExit(c.ID)
		if err == nil || !isNotFound(err) {
			return exit, err
		}
		if err := changes.Next(ctx); err != nil {
			return state.Exit{}, err
		}
	}
}

// changes is what wakes those who wait; they look themselves what has happened.
type changes interface {
	Next(ctx context.Context) error
	Close()
}

// changes returns what wakes a wait for c that may begin before its unit is there:
// an ephemeral container can go without one.
func (e *Engine) changes(ctx context.Context, c spec.Container, cond WaitCondition) (changes, error) {
	if cond == WaitRemoved || c.AutoRemove {
		return e.state.WatchExits()
	}
	return e.unitChanges(ctx, c)
}

// unitChanges returns what wakes a wait for the end of a run that has begun: it is
// announced before the unit changes state. What is on disk is not watched, since the
// end of that would take longer than a short run.
func (e *Engine) unitChanges(ctx context.Context, c spec.Container) (changes, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, err
	}
	w, err := conn.Watch(ctx, c.UnitName())
	if err != nil {
		return nil, err
	}
	return unitChanges{w}, nil
}

type unitChanges struct{ *supervisor.Watch }

// Next waits for the next state of the unit, whatever it is. The first call
// returns at once.
func (u unitChanges) Next(ctx context.Context) error {
	_, err := u.Watch.Next(ctx)
	return err
}

// announceWait bounds the time between the removal of an ephemeral container
// and the announcement of its exit.
const announceWait = 10 * time.Second

// waitRemoved returns the exit code of a container that has removed itself.
// What it announces may be a moment later.
func (e *Engine) waitRemoved(ctx context.Context, id string, notFound error) (int, error) {
	if exit, err := e.state.LoadExit(id); err == nil {
		return exit.Code, nil
	}
	watch, err := e.state.WatchExits()
	if err != nil {
		return 0, err
	}
	defer watch.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, announceWait, notFound)
	defer cancel()
	for {
		exit, err := e.state.LoadExit(id)
		if err == nil || !isNotFound(err) {
			return exit.Code, err
		}
		if err := watch.Next(ctx); err != nil {
			return 0, err
		}
	}
}

// waitStopped waits until c does not run and will not be restarted.
func (e *Engine) waitStopped(ctx context.Context, c spec.Container) error {
	changes, err := e.unitChanges(ctx, c)
	if err != nil {
		return err
	}
	defer changes.Close()
	for {
		v, err := e.Get(ctx, c.ID)
		if err != nil || v.Status == StatusExited || v.Status == StatusDead || v.Status == StatusSleeping {
			return err
		}
		if err := changes.Next(ctx); err != nil {
			return err
		}
	}
}
