// Package pause waits for a time to pass.
package pause

import (
	"context"
	"time"
)

// For waits for d. If ctx is done before, it returns the cause at once.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
