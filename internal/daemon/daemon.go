// Package daemon is what the programs have in common that systemd starts when
// somebody needs them and that exit when nobody does any more.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// ErrSignal is the cause with which a daemon's context ends when it is told to
// stop. A daemon that could leave work undone returns it.
var ErrSignal = errors.New("terminated by a signal")

// exitAgain is EX_TEMPFAIL of sysexits.h: Restart=on-failure in the unit brings the
// daemon back.
const exitAgain = 75

// gcPercent keeps daemons small at rest: what they hold is little, and what a
// request needs is short-lived.
const gcPercent = 50

// Daemon is one such program.
type Daemon struct {
	Name string // the program's
}

// Warn writes to stderr, which is the daemon's log, at level "warning"; see
// sd-daemon(3).
func (d Daemon) Warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "<4>"+d.Name+": "+format+"\n", args...)
}

// Main runs the daemon and ends the process with the status that its unit
// expects: 0 if run returns nil, 75 for ErrSignal, 1 for other errors, which are
// logged. The context ends with SIGTERM or SIGINT.
func (d Daemon) Main(run func(context.Context) error) {
	switch err := d.run(run); {
	case err == nil:
	case errors.Is(err, ErrSignal):
		os.Exit(exitAgain)
	default:
		d.Warn("%v", err)
		os.Exit(1)
	}
}

func (d Daemon) run(run func(context.Context) error) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	signal.Ignore(unix.SIGPIPE) // a journald that went away must not end the daemon through its stderr
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(ch)
	go func() {
		<-ch
		cancel(ErrSignal)
	}()
	return run(ctx)
}
