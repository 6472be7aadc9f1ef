package health

import (
	"context"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// firstLook is the time from the first to the second look for a success that is
// awaited. Each look that finds none doubles it, up to the interval within the start
// period.
const firstLook = 50 * time.Millisecond

// look looks for the first success, if that is awaited, until the next check is due.
// It reports whether there was one. That there is none yet, says nothing: these are
// no checks that count.
func (m *monitor) look(ctx context.Context, due time.Time) bool {
	longest := or(m.check.StartInterval, spec.HealthStartInterval)
	for m.awaited && m.health.Status == state.HealthStarting && time.Now().Add(m.nextIn).Before(due) {
		if !sleep(ctx, m.nextIn) {
			return false
		}
		m.nextIn = min(max(2*m.nextIn, firstLook), longest)
		if m.target.frozen() {
			continue
		}
		if r, ok := m.probe(ctx); ok && r.ExitCode == 0 {
			m.apply(r)
			m.target.record(m.health, true)
			return true
		}
	}
	return false
}

// sleep waits for d and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
