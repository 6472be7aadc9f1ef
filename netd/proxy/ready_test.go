package proxy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Connections wait until the run is ready, about which one asks for all; meanwhile
// the run is held, and nothing is led past the proxy.
func TestReady(t *testing.T) {
	b := newBox(t, "tcp")
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	healthy := make(chan struct{})
	var asked, held atomic.Int64
	cfg.Ready = func(ctx context.Context, run Run) error {
		asked.Add(1)
		select {
		case <-healthy:
			if b.leads.Load() != 0 {
				t.Error("connections are led to a run that is not ready")
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	cfg.Hold = func(Run) func() {
		if held.Add(1) == 5 {
			close(healthy) // all are there
		}
		return func() { held.Add(-1) }
	}
	wait := b.serve(cfg)
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() {
			if got, err := echo("tcp", addr, "x"); got != "x" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	clients.Wait()
	if got, err := echo("tcp", addr, "y"); got != "y" || err != nil {
		t.Errorf("later: %q, %v", got, err)
	}
	wait()
	if asked.Load() != 1 || held.Load() != 0 || b.leads.Load() == 0 {
		t.Errorf("asked %d times, held %d times in the end, led %d times", asked.Load(), held.Load(), b.leads.Load())
	}
}

// A run that is never ready does not keep connections for ever.
func TestNeverReady(t *testing.T) {
	b := newBox(t, "tcp")
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Patience = 50 * time.Millisecond
	var said atomic.Value
	cfg.Warn = func(s string) { said.Store(s) }
	cfg.Ready = func(ctx context.Context, _ Run) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	wait := b.serve(cfg)
	if got, err := echo("tcp", addr, "x"); err == nil {
		t.Errorf("answer %q", got)
	}
	wait()
	if s, _ := said.Load().(string); !strings.Contains(s, errNotReady.Error()) {
		t.Errorf("warning %q", s)
	}
	if b.leads.Load() != 0 {
		t.Error("connections are led to a run that is not ready")
	}
}

// What keeps the question from being answered is said.
func TestReadyFails(t *testing.T) {
	b := newBox(t, "tcp")
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	var said atomic.Value
	cfg.Warn = func(s string) { said.Store(s) }
	cfg.Ready = func(context.Context, Run) error { return errors.New("no watch is left") }
	wait := b.serve(cfg)
	if got, err := echo("tcp", addr, "x"); err == nil {
		t.Errorf("answer %q", got)
	}
	wait()
	if s, _ := said.Load().(string); !strings.Contains(s, "no watch is left") {
		t.Errorf("warning %q", s)
	}
}
