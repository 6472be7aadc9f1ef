package engine

import (
	"cmp"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// Health is what the health checks of a container have found.
type Health = state.Health

// HealthStatus is Docker's word for that.
type HealthStatus = state.HealthStatus

// fillHealth merges the image's health check into that of c, as Docker merges
// them: what the user has not said is the image's.
func fillHealth(c *spec.Container, cfg image.Config) error {
	if c.Healthcheck == nil && cfg.Healthcheck == nil {
		return nil
	}
	var h spec.Healthcheck
	if c.Healthcheck != nil {
		h = *c.Healthcheck
	}
	if of := cfg.Healthcheck; of != nil {
		if len(h.Test) == 0 {
			h.Test = of.Test
		}
		h.Interval, h.Timeout = cmp.Or(h.Interval, of.Interval), cmp.Or(h.Timeout, of.Timeout)
		h.StartPeriod, h.StartInterval = cmp.Or(h.StartPeriod, of.StartPeriod), cmp.Or(h.StartInterval, of.StartInterval)
		h.Retries = cmp.Or(h.Retries, of.Retries)
	}
	if len(h.Shell) == 0 {
		h.Shell = cfg.Shell
	}
	c.Healthcheck = &h
	return checkHealth(*c)
}

func checkHealth(c spec.Container) error {
	h := c.Healthcheck
	for name, d := range map[string]time.Duration{
		"interval": h.Interval, "timeout": h.Timeout, "start period": h.StartPeriod, "start interval": h.StartInterval,
	} {
		if d < 0 || d > 0 && d < time.Millisecond {
			return invalid("health check: %s %v: it must be 0, for the default, or at least 1ms", name, d)
		}
	}
	if h.Retries < 0 {
		return invalid("health check: %d retries: there cannot be fewer than 0", h.Retries)
	}
	acts := h.OnFailure != "" && h.OnFailure != spec.HealthNone
	if acts && h.Argv() == nil {
		return invalid("health-on-failure=%s: there is no health check: give a command with --health-cmd", h.OnFailure)
	}
	if h.OnFailure == spec.HealthRestart && c.AutoRemove {
		return invalid("health-on-failure=restart: a container that is removed when it ends (--rm) cannot be restarted")
	}
	return nil
}

// addHealth adds to v what its health checks have found. As in Docker, one that
// does not run is unhealthy.
func (e *Engine) addHealth(v *Container) error {
	if v.Healthcheck.Argv() == nil || v.Run.StartedAt.IsZero() {
		return nil
	}
	h, err := e.state.LoadHealth(v.ID)
	if err != nil && !isNotFound(err) {
		return err
	}
	v.Health = &h
	if v.Status != StatusRunning && v.Status != StatusPaused {
		h.Status = state.HealthUnhealthy
		return nil
	}
	live, err := e.state.LoadLive(v.ID)
	if isNotFound(err) {
		return nil // it has just ended
	}
	if err == nil && h.Run != live.InvocationID {
		h.Status, h.FailingStreak = state.HealthStarting, 0 // no check has been made yet
	}
	return err
}

// inspectHealth is h in Docker's form.
func inspectHealth(h *Health) *HealthInspect {
	if h == nil {
		return nil
	}
	return &HealthInspect{Status: h.Status, FailingStreak: h.FailingStreak, Log: emptyNotNil(h.Log)}
}

// inspectCheck is h in Docker's form, and Podman's action on failure.
func inspectCheck(h *spec.Healthcheck) (check *image.Healthcheck, onFailure string) {
	if h == nil {
		return nil, ""
	}
	return &image.Healthcheck{
		Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
	}, string(h.OnFailure)
}
