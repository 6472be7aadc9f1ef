package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
)

// run is one run of a container: the target of a monitor.
type run struct {
	container spec.Container // as it was when the run began
	live      state.Live
	payload   *sandbox.Payload

	notices *os.File // the socket at which the payload says how it is doing; nil without one
	filter  noticeFilter

	store   *state.Store
	helper  string
	manager *Manager
	warn    func(format string, args ...any)

	cancel func()
	done   chan struct{} // closed once nothing more is written
}

// check runs the checks until ctx is done.
func (r *run) check(ctx context.Context) {
	m := r.monitor()
	if m.health.Status == state.HealthHealthy {
		r.sayReady() // should the server before this one not have come to it
	}
	m.run(ctx)
}

// sayReady tells the service manager of the first success, if it waits for that.
func (r *run) sayReady() {
	if r.container.Notify != spec.NotifyHealthy {
		return
	}
	if err := r.manager.send(r.payload, "READY=1"); err != nil {
		r.warn("say that container %q is ready: %v", r.container.Name, err)
	}
}

// monitor returns the monitor of r, which goes on from what a server before this
// one has found.
func (r *run) monitor() *monitor {
	h, err := r.store.LoadHealth(r.container.ID)
	if err != nil && !errors.Is(err, spec.ErrNotFound) {
		r.warn("health of container %q: %v, starting anew", r.container.Name, err)
	}
	if h.Run != r.live.InvocationID {
		h = state.Health{Run: r.live.InvocationID, Status: state.HealthStarting, Log: h.Log}
	}
	return &monitor{check: *r.container.Healthcheck, started: r.live.StartedAt, health: h, target: r, awaited: r.container.Activation.Mode == spec.ActivateProxy}
}

func (r *run) probe(ctx context.Context) (code int, output string, err error) {
	return probe(ctx, sandbox.ExecRequest{
		PID: r.live.PID, Unit: r.container.UnitName(), Dir: r.store.Dir(r.container.ID), Helper: r.helper,
		Argv: r.container.Healthcheck.Argv(),
	})
}

func (r *run) frozen() bool { return r.payload.Frozen() }

func (r *run) ending() bool { return r.payload.Ending() }

func (r *run) record(h state.Health, changed bool) {
	if err := r.store.SaveHealth(r.container.ID, h); err != nil {
		r.warn("health of container %q: %v, ignoring", r.container.Name, err)
	}
	if changed && h.Status == state.HealthHealthy {
		r.sayReady()
	}
	if changed {
		r.tell("health_status: " + string(h.Status))
	}
}

// end is called when nothing more is written. The record of a container that has
// been removed meanwhile may have been written since.
func (r *run) end() {
	if r.notices != nil && r.payload.Ended() { // else a server after this one goes on
		r.manager.forget(r.container.ID)
	}
	r.payload.Close()
	if r.notices != nil {
		_ = r.notices.Close()
	}
	if _, err := r.store.Load(r.container.ID); errors.Is(err, spec.ErrNotFound) {
		_ = r.store.ForgetHealth(r.container.ID) // else "system check" does
	}
}

// unhealthy does what the user asked for. What does not work is tried again after
// the next check.
func (r *run) unhealthy(ctx context.Context) {
	var err error
	switch r.container.Healthcheck.OnFailure {
	case spec.HealthKill:
		r.tell("kill", "signal", "9")
		err = r.payload.Kill()
	case spec.HealthStop:
		err = r.stop(ctx)
	case spec.HealthRestart:
		err = r.withSystemd(ctx, (*supervisor.Conn).Restart)
	case spec.HealthNone, "":
		return
	}
	if err != nil && ctx.Err() == nil {
		r.warn("%s container %q, which is unhealthy: %v", r.container.Healthcheck.OnFailure, r.container.Name, err)
	}
}

// stop stops the container for good, whatever its restart policy says.
func (r *run) stop(ctx context.Context) error {
	if m := r.container.Restart.Mode; m != "" && m != spec.RestartNo {
		if err := r.store.SetStopped(r.container.ID, true); err != nil {
			return err
		}
	}
	r.tell("stop")
	return r.withSystemd(ctx, (*supervisor.Conn).Stop)
}

// withSystemd does something to the unit. Ctx ends with the payload: then the job
// goes on by itself.
func (r *run) withSystemd(ctx context.Context, do func(*supervisor.Conn, context.Context, string) error) error {
	conn, err := supervisor.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := do(conn, ctx, r.container.UnitName()); err != nil {
		return fmt.Errorf("%s: %w", r.container.UnitName(), err)
	}
	return nil
}

// tell writes an event into the journal, with further attributes as pairs of name
// and value. Where nobody takes it, nobody reads it.
func (r *run) tell(action string, more ...string) {
	c, err := r.store.Load(r.container.ID) // it may have been renamed
	if err != nil {
		c = r.container
	}
	attributes := maps.Clone(c.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["name"], attributes["image"] = c.Name, c.Image.Reference
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	_ = event.Send(event.Event{
		Type: event.Container, Action: action, Object: c.ID, Attributes: attributes, Time: time.Now(),
		Root: r.store.Root(), Unit: r.container.UnitName(),
	})
}
