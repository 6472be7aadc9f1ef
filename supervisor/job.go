package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/cleat-project/cleat/unitgen"
)

// modeFail makes systemd refuse a job that conflicts with one under way.
// modeReplace lets the newer request win.
const (
	modeFail    = "fail"
	modeReplace = "replace"
)

// Job is a job that systemd has accepted. Wait must be called, or Forget.
type Job struct {
	Unit string

	kind string // "start", "stop" or "restart"
	conn *Conn
	sub  *subscription
	path objectPath
}

// property is unitgen.Property in wire form, D-Bus signature (sv).
type property struct {
	Name  string
	Value dbus.Variant
}

// auxUnit is one auxiliary unit of StartTransientUnit, signature (sa(sv)).
type auxUnit struct {
	Name       string
	Properties []property
}

func wire(props []unitgen.Property) []property {
	out := make([]property, 0, len(props))
	for _, p := range props {
		out = append(out, property{p.Name, dbus.MakeVariant(p.Value)})
	}
	return out
}

// StartTransient creates unit u, and the units aux beside it, and returns once
// u has started. If a unit of that name exists the error wraps spec.ErrExists,
// and if u does not come up it is a *JobError. If ctx ends first the start goes
// on without us.
func (c *Conn) StartTransient(ctx context.Context, u unitgen.Unit, aux ...unitgen.Unit) error {
	job, err := c.StartTransientNoWait(ctx, u, aux...)
	if err != nil {
		return err
	}
	return job.Wait(ctx)
}

// StartTransientNoWait is StartTransient up to the point where systemd has
// accepted the start.
func (c *Conn) StartTransientNoWait(ctx context.Context, u unitgen.Unit, aux ...unitgen.Unit) (*Job, error) {
	others := make([]auxUnit, 0, len(aux))
	for _, a := range aux {
		others = append(others, auxUnit{a.Name, wire(a.Properties)})
	}
	return c.enqueue(ctx, "start", u.Name, "StartTransientUnit", u.Name, modeFail, wire(u.Properties), others)
}

// Start starts a loaded unit, or one whose file exists, and returns once it is
// up; at once if it is up already. The error is a *JobError if it does not come
// up, and wraps spec.ErrNotFound if there is no such unit.
func (c *Conn) Start(ctx context.Context, unit string) error {
	return c.finish(c.enqueue(ctx, "start", unit, "StartUnit", unit, modeReplace))(ctx)
}

// Restart stops the unit if it runs, and starts it.
func (c *Conn) Restart(ctx context.Context, unit string) error {
	return c.finish(c.RestartNoWait(ctx, unit))(ctx)
}

// RestartNoWait begins to restart the unit.
func (c *Conn) RestartNoWait(ctx context.Context, unit string) (*Job, error) {
	return c.enqueue(ctx, "restart", unit, "RestartUnit", unit, modeReplace)
}

// Stop stops the unit and returns once it is down; at once if it is down
// already. The error wraps spec.ErrNotFound if no such unit is loaded.
func (c *Conn) Stop(ctx context.Context, unit string) error {
	return c.finish(c.StopNoWait(ctx, unit))(ctx)
}

// StopNoWait begins to stop the unit.
func (c *Conn) StopNoWait(ctx context.Context, unit string) (*Job, error) {
	return c.enqueue(ctx, "stop", unit, "StopUnit", unit, modeReplace)
}

// finish returns the wait for job, or err if there is no job to wait for.
func (c *Conn) finish(job *Job, err error) func(context.Context) error {
	if err != nil {
		return func(context.Context) error { return err }
	}
	return job.Wait
}

// enqueue calls a method that makes a job. It listens for the end of jobs
// first, as a job may end before the reply to the call is read.
func (c *Conn) enqueue(ctx context.Context, kind, unit, method string, args ...any) (*Job, error) {
	job := &Job{Unit: unit, kind: kind, conn: c}
	err := c.retry(ctx, func() error {
		l, err := c.live(ctx)
		if err != nil {
			return err
		}
		job.sub = l.subscribe(jobRemoved(unit))
		body, err := l.call(ctx, managerPath, managerInterface, method, args...)
		if err == nil {
			err = dbus.Store(body, &job.path)
		}
		if err != nil {
			job.Forget()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, unit, err)
	}
	return job, nil
}

// jobRemoved selects the ends of unit's jobs: JobRemoved(id, job, unit, result).
func jobRemoved(unit string) func(*dbus.Message) bool {
	return func(m *dbus.Message) bool {
		if !isSignal(m, managerInterface, "JobRemoved") || len(m.Body) != 4 {
			return false
		}
		of, _ := m.Body[2].(string)
		return of == unit
	}
}

// Forget gives up waiting for the job, which goes on.
func (j *Job) Forget() { j.sub.cancel() }

// Wait returns once the job has ended: nil if it did what it should, else a
// *JobError. It may be called once.
func (j *Job) Wait(ctx context.Context) error {
	defer func() { j.sub.cancel() }()
	for {
		ended, err := j.sub.next(ctx)
		if errors.Is(err, errLost) {
			gone, rerr := j.resume(ctx)
			if rerr != nil {
				return fmt.Errorf("%s %s: %w", j.kind, j.Unit, rerr)
			}
			if gone {
				return j.infer(ctx)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the %s of %s: %w", j.kind, j.Unit, err)
		}
		for _, m := range ended {
			if path, _ := m.Body[1].(objectPath); path == j.path {
				how, _ := m.Body[3].(string)
				return j.end(ctx, how)
			}
		}
	}
}

// resume listens on a new link after PID 1 re-executed itself; jobs and their
// numbers outlive that. It reports whether the job ended meanwhile.
func (j *Job) resume(ctx context.Context) (gone bool, err error) {
	sub, err := j.conn.subscribe(ctx, jobRemoved(j.Unit))
	if err != nil {
		return false, err
	}
	j.sub.cancel()
	j.sub = sub
	_, err = j.conn.callOn(ctx, j.path, propertiesInterface, "Get", "org.freedesktop.systemd1.Job", "State")
	if _, refused := errors.AsType[*BusError](err); refused {
		return true, nil
	}
	return false, err
}

// infer judges a job whose end was missed by the unit's state.
func (j *Job) infer(ctx context.Context) error {
	p, err := j.conn.Properties(ctx, j.Unit)
	if err != nil {
		return fmt.Errorf("%s %s: %w", j.kind, j.Unit, err)
	}
	if p.Active() != (j.kind == "stop") {
		return nil
	}
	return &JobError{Unit: j.Unit, Type: j.kind, Result: "lost", State: p}
}

// end makes the error of a job that ended with the given result.
func (j *Job) end(ctx context.Context, how string) error {
	if how == "done" {
		return nil
	}
	// Best effort: the unit may be gone, and the job's result is the news.
	state, err := j.conn.Properties(ctx, j.Unit)
	if err != nil {
		state = UnitProperties{Name: j.Unit}
	}
	return &JobError{Unit: j.Unit, Type: j.kind, Result: how, State: state}
}
