// Command cleat runs containers as systemd services. It decodes what the user
// typed, makes a call to package engine, and prints the answer: it decides
// nothing about containers itself. There is a file for every verb.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cleat-project/cleat/engine"
)

// version is set by the linker.
var version = "unknown"

// run is main with its exit status. Panics end here too: a terminal in raw mode
// has been put back by then, because that is deferred.
func run(args []string) int {
	ctx, release := signalContext(context.Background())
	defer release()
	c := &cli{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		lookup:         os.LookupEnv,
		euid:           os.Geteuid(),
		releaseSignals: release,
		enterHost:      enterHost, enterToComplete: enterRunningHost,
	}
	c.open = func(opt engine.Options) (backend, error) { return engine.Open(opt) }
	defer c.close()
	if dir, err := os.Getwd(); err == nil {
		c.dir = dir
	}
	root := newRoot(c, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return report(os.Stderr, cmd, err)
}

// signalError is the cause of a context that a signal has cancelled.
type signalError struct{ sig syscall.Signal }

func (e signalError) Error() string {
	return fmt.Sprintf("interrupted by signal %d (%s)", int(e.sig), e.sig)
}

// signalContext returns a context that the first SIGINT, SIGTERM or SIGHUP
// cancels; a second one ends the program. Release gives the signals up: commands
// that pass signals on to a container call it early.
func signalContext(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		if s, ok := sig.(syscall.Signal); ok {
			cancel(signalError{s})
		}
	}()
	return ctx, func() { signal.Stop(signals) }
}
