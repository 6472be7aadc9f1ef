package state_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cleat-project/cleat/state"
)

// Who waits for a run to be healthy is told of that run alone, whenever the word
// comes.
func TestAwaitHealthy(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const cid, run = "0123", "this run"
	save := func(run string, status state.HealthStatus) {
		t.Helper()
		if err := s.SaveHealth(cid, state.Health{Run: run, Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan error, 1)
	go func() { told <- s.AwaitHealthy(t.Context(), cid, run) }()
	save("another run", state.HealthHealthy)
	save(run, state.HealthStarting)
	save(run, state.HealthUnhealthy)
	select {
	case err := <-told:
		t.Fatalf("told too early: %v", err)
	default:
	}
	save(run, state.HealthHealthy)
	if err := <-told; err != nil {
		t.Error(err)
	}
	if err := s.AwaitHealthy(t.Context(), cid, run); err != nil {
		t.Errorf("known before: %v", err)
	}
	cause := errors.New("the container has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := s.AwaitHealthy(ctx, cid, "the next run"); !errors.Is(err, cause) {
		t.Errorf("given up: %v", err)
	}
}
