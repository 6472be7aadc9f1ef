package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// logLength is how many results are kept, as in Docker.
const logLength = 5

// Why a command is not run to its end.
var (
	errTimeout = errors.New("it takes too long")
	errPaused  = errors.New("the container is paused")
)

// noExitCode stands for that of a check which was not run to its end.
const noExitCode = -1

// target is the run of a container that a monitor is for.
type target interface {
	// probe runs the command of a check and returns its exit code and what it
	// printed. Once ctx is done it ends the command, if there is one, and
	// returns the output so far.
	probe(ctx context.Context) (code int, output string, err error)
	// frozen reports whether the container is paused.
	frozen() bool
	// ending reports whether the container is about to end, which kills checks.
	ending() bool
	// record stores what is known, with a state of health that is new or was so
	// before.
	record(h state.Health, changed bool)
	// unhealthy is called after each check that finds the container unhealthy.
	unhealthy(ctx context.Context)
}

// monitor checks one run of a container. It is Docker's state machine.
type monitor struct {
	check   spec.Healthcheck
	started time.Time
	health  state.Health
	target  target

	// awaited says that connections wait for the first success. Then it is looked
	// for between the checks as well.
	awaited bool
	nextIn  time.Duration // from one look to the next
}

// run checks until ctx is done. A daemon that takes over from another goes on with
// its rhythm.
func (m *monitor) run(ctx context.Context) {
	last := m.started
	if n := len(m.health.Log); n > 0 && m.health.Log[n-1].End.After(last) {
		last = m.health.Log[n-1].End
	}
	due := last.Add(m.interval(time.Now()))
	for {
		if !m.look(ctx, due) {
			if !sleep(ctx, time.Until(due)) {
				return
			}
			m.once(ctx)
		}
		due = time.Now().Add(m.interval(time.Now()))
	}
}

// interval is the time until the next check.
func (m *monitor) interval(now time.Time) time.Duration {
	if m.health.Status == state.HealthStarting && now.Sub(m.started) < m.check.StartPeriod {
		return or(m.check.StartInterval, spec.HealthStartInterval)
	}
	return or(m.check.Interval, spec.HealthInterval)
}

// once does one check. What was under way when the container was paused, or ended,
// says nothing.
func (m *monitor) once(ctx context.Context) {
	if m.target.frozen() {
		return
	}
	r, ok := m.probe(ctx)
	if !ok {
		return
	}
	before := m.health.Status
	m.apply(r)
	m.target.record(m.health, m.health.Status != before)
	if m.health.Status == state.HealthUnhealthy && r.ExitCode != 0 {
		m.target.unhealthy(ctx)
	}
}

// probe runs the command within its time. It reports false if there is no result.
func (m *monitor) probe(ctx context.Context) (r state.HealthResult, ok bool) {
	timeout := or(m.check.Timeout, spec.HealthTimeout)
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() {
		// Asked before the command is killed: for that the kernel lets the
		// container go on for a moment.
		if m.target.frozen() {
			cancel(errPaused)
		}
		cancel(errTimeout)
	})
	defer timer.Stop()
	r.Start = time.Now()
	var err error
	r.ExitCode, r.Output, err = m.target.probe(within)
	r.End = time.Now()
	cause := context.Cause(within)
	switch {
	case ctx.Err() != nil, errors.Is(cause, errPaused):
		return r, false
	case (err != nil || r.ExitCode != 0) && m.target.ending():
		return r, false
	case errors.Is(cause, errTimeout):
		text := fmt.Sprintf("Health check exceeded timeout (%v)", timeout)
		if r.Output != "" {
			text += ": " + r.Output
		}
		r.ExitCode, r.Output = noExitCode, text
	case err != nil:
		r.ExitCode, r.Output = noExitCode, err.Error()
	}
	return r, true
}

// apply takes a result into account. Failures before the first success do not
// count within the start period.
func (m *monitor) apply(r state.HealthResult) {
	h := &m.health
	// A new list: the old one may be being written.
	log := append(append(make([]state.HealthResult, 0, len(h.Log)+1), h.Log...), r)
	h.Log = log[max(0, len(log)-logLength):]
	switch {
	case r.ExitCode == 0:
		h.FailingStreak, h.Status = 0, state.HealthHealthy
	case h.Status == state.HealthStarting && r.Start.Sub(m.started) < m.check.StartPeriod:
	default:
		h.FailingStreak++
		if h.FailingStreak >= or(m.check.Retries, spec.HealthRetries) {
			h.Status = state.HealthUnhealthy
		}
	}
}

// or returns n, or otherwise if it is not given.
func or[T time.Duration | int](n, otherwise T) T {
	if n <= 0 {
		return otherwise
	}
	return n
}
