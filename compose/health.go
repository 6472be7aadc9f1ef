package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// errRuns ends the wait for a unit whose container runs.
var errRuns = errors.New("it runs")

// start starts a container and returns once it runs. The unit of one for whose
// health others wait at boot has started only when it is healthy; here, its health
// is a step of its own, which also tells when it is unhealthy.
func (x *execution) start(ctx context.Context, s Step) error {
	if !s.Health {
		return x.Engine.Start(ctx, s.ref())
	}
	c, err := x.Engine.Get(ctx, s.ref())
	if err != nil {
		return err
	}
	since := time.Now()
	starting, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	go func() {
		filters := map[string][]string{"type": {"container"}, "container": {c.ID}, "event": {"start"}}
		for _, err := range x.Engine.Events(starting, engine.EventOptions{Since: since, Filters: filters}) {
			if err == nil {
				enough(errRuns)
			}
			return
		}
	}()
	err = x.Engine.Start(starting, c.ID)
	if err != nil && errors.Is(context.Cause(starting), errRuns) {
		return nil // systemd goes on without us
	}
	return err
}

// awaitHealth waits until a container is healthy. Strict refuses one without a
// health check; otherwise such a one has to run.
func (x *execution) awaitHealth(ctx context.Context, s Step, strict bool) error {
	since := time.Now() // what happens from here on is among the events
	c, err := x.Engine.Get(ctx, s.ref())
	if err != nil {
		return err
	}
	settled, err := healthy(c, strict)
	if settled || err != nil {
		return err
	}
	filters := map[string][]string{"type": {"container"}, "container": {c.ID}}
	for ev, err := range x.Engine.Events(ctx, engine.EventOptions{Since: since, Filters: filters}) {
		if err != nil {
			return err
		}
		if !strings.HasPrefix(ev.Action, "health_status") && ev.Action != "die" && ev.Action != "start" {
			continue
		}
		if c, err = x.Engine.Get(ctx, c.ID); err != nil {
			return err
		}
		if settled, err := healthy(c, strict); settled || err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// healthy reports whether there is nothing more to wait for.
func healthy(c engine.Container, strict bool) (bool, error) {
	checked := c.Healthcheck.Argv() != nil
	switch {
	case strict && !checked:
		return false, fmt.Errorf("it has no health check, and what depends on it waits for its health: %w", spec.ErrInvalid)
	case !strict && c.Status == engine.StatusExited && c.Run.ExitCode == 0:
		return true, nil // it has done its work
	case !isUp(c):
		return false, fmt.Errorf("it is %s, with exit code %d; see 'cleat logs %s': %w", c.Status, c.Run.ExitCode, c.Name, spec.ErrConflict)
	case !checked:
		return true, nil
	case c.Health == nil || c.Health.Status == "starting":
		return false, nil
	case c.Health.Status == "healthy":
		return true, nil
	}
	return false, fmt.Errorf("it is %s; see 'cleat inspect %s': %w", c.Health.Status, c.Name, spec.ErrConflict)
}
