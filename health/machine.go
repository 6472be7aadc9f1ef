package health

import (
	"context"
	"errors"
	"time"

	"github.com/cleat-project/cleat/health/enlist"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

const (
	// machineAge is how old a run has to be to count as a machine: those that are
	// over sooner are not worth the noise.
	machineAge = 300 * time.Millisecond

	// machineWait bounds the wait for systemd-machined.
	machineWait = 20 * time.Second
)

// introduce tells systemd-machined, where there is one, of the run under way of
// container id, in the background.
func (s *Server) introduce(ctx context.Context, id string) {
	if !enlist.HasMachined() {
		return
	}
	s.wg.Go(func() {
		err := s.register(ctx, id)
		// There may be no run any more, and there may be nobody to tell.
		if err != nil && ctx.Err() == nil && !errors.Is(err, spec.ErrNotFound) && !errors.Is(err, spec.ErrConflict) && !errors.Is(err, spec.ErrUnavail) {
			s.cfg.Warn("register container %s: %v, ignoring", spec.ShortID(id), err)
		}
	})
}

// register returns once systemd-machined knows of a run that has lasted.
func (s *Server) register(ctx context.Context, id string) error {
	c, err := s.cfg.Store.Load(id)
	if err != nil {
		return err
	}
	live, err := s.cfg.Store.LoadLive(id)
	if err != nil {
		return err
	}
	payload, err := sandbox.OpenPayload(live.PID, c.UnitName())
	if err != nil {
		return err
	}
	defer payload.Close()
	young, cancel := context.WithDeadline(ctx, live.StartedAt.Add(machineAge))
	defer cancel()
	if err := payload.Wait(young); err == nil || ctx.Err() != nil {
		return context.Cause(ctx) // nil if it has ended
	}
	ctx, cancel = context.WithTimeout(ctx, machineWait)
	defer cancel()
	m := supervisor.Machine{Name: spec.MachineName(c.UnitName(), c.ID), ID: c.ID, Leader: live.PID}
	s.machines.Lock() // systemd-machined does one thing at a time
	defer s.machines.Unlock()
	err = m.Register(ctx)
	switch {
	case !payload.Ended():
		return err
	case err != nil:
		return nil // there was nothing to be registered any more
	}
	return m.Unregister(ctx) // whoever cleans up after it may not have seen the machine
}
