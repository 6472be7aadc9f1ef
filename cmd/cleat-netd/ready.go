package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/cleat-project/cleat/netd/proxy"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// waits has connections to container c wait until its checks find it healthy, if it
// has any, and keeps it awake while some wait.
func waits(cfg *proxy.Config, store *state.Store, h wire.Host, c spec.Container) {
	cfg.Patience = proxy.DefaultPatience
	if check := c.Healthcheck; check.Argv() != nil {
		cfg.Patience += verdict(*check)
		cfg.Ready = func(ctx context.Context, run proxy.Run) error {
			if l, err := h.Lives().Load(c.ID); err == nil && len(l.Led) > 0 {
				return nil // it was healthy in this run: what it is now, is not for us to say
			}
			return store.AwaitHealthy(ctx, c.ID, run.ID)
		}
	}
	if c.Activation.IdleTimeout > 0 {
		w := waiters{file: h.UsedFile(c.ID), patience: cfg.Patience, lasts: func(run proxy.Run) bool {
			now, err := cfg.Run()
			return (err == nil && now.ID == run.ID) || errors.Is(err, spec.ErrConflict)
		}}
		cfg.Hold = w.hold
	}
}

// verdict is how long checks may take until they have found that a container is not
// healthy.
func verdict(check spec.Healthcheck) time.Duration {
	once := cmp.Or(check.Interval, spec.HealthInterval) + cmp.Or(check.Timeout, spec.HealthTimeout)
	return check.StartPeriod + time.Duration(cmp.Or(check.Retries, spec.HealthRetries))*once
}

// waiters are the connections that wait for the container. While there are some,
// its last use lies in the future, for whoever would put it to sleep, see rest.
type waiters struct {
	file     string
	patience time.Duration
	lasts    func(proxy.Run) bool // whether a run goes on

	mu sync.Mutex
	n  int
}

// hold counts one until what it returns is called. What does not work keeps no
// connection from its way.
func (w *waiters) hold(run proxy.Run) (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	if err := touch(w.file, time.Now().Add(w.patience)); err == nil && !w.lasts(run) {
		_ = os.Remove(w.file) // whoever cleans up after the run may have been here already
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.n--; w.n == 0 {
			now := time.Now()
			_ = os.Chtimes(w.file, now, now) // unless the run has ended
		}
	}
}
