package compose

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

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
