// Package interrupt is how commands that people start take signals.
package interrupt

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Error is the cause of a context that a signal has cancelled.
type Error struct{ Signal syscall.Signal }

func (e Error) Error() string {
	return fmt.Sprintf("interrupted by signal %d (%s)", int(e.Signal), e.Signal)
}

// Context returns a context that the first SIGINT, SIGTERM or SIGHUP cancels; a
// second one ends the program. Release gives the signals up: commands that pass
// signals on to a container call it early.
func Context(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		if s, ok := sig.(syscall.Signal); ok {
			cancel(Error{s})
		}
	}()
	return ctx, func() { signal.Stop(signals) }
}
