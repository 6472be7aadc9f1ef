// Command cleat-stdiod is the stdio broker: it takes the output of containers to
// the journal and to attached clients. systemd starts it with the first
// connection to its socket and keeps its descriptors when it is restarted.
//
// It exits with 0 when it has had nothing to do for a while, and with 75 when it
// is told to stop while it may be needed, so that Restart=on-failure brings it
// back with all descriptors. To upgrade it, "systemctl restart cleat-stdiod":
// containers and clients do not notice. Never "systemctl stop" it while containers
// run: before version 254 systemd then closes their output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/broker"
)

// exitAgain is EX_TEMPFAIL of sysexits.h: the service has to be started again.
const exitAgain = 75

// Limits of the Go runtime. The broker keeps little memory alive, so that a
// garbage collection is cheap; collecting at small sizes keeps it small at rest.
const gcPercent = 50

var errSignal = errors.New("terminated by a signal")

func main() {
	err := run()
	switch {
	case err == nil:
		return
	case errors.Is(err, errSignal):
		os.Exit(exitAgain)
	}
	warn("%v", err)
	os.Exit(1)
}

// warn writes to stderr, which is the broker's own log, at level "warning"; see
// sd-daemon(3).
func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "<4>cleat-stdiod: "+format+"\n", args...)
}

func run() error {
	socket := flag.String("socket", "", "listen at this `path` instead of a socket from systemd")
	journal := flag.String("journal", broker.JournalSocket, "send log entries to the socket at this `path`")
	idle := flag.Duration("idle", broker.DefaultIdle, "exit after this `time` without containers and clients; negative: never")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signalContext()
	defer stop()
	cfg, notify, err := configure(*socket)
	if err != nil {
		return err
	}
	cfg.JournalSocket, cfg.Idle = *journal, *idle
	b, err := broker.New(cfg)
	if err != nil {
		return err
	}
	if err := notify("READY=1"); err != nil {
		return err
	}
	return b.Serve(ctx)
}

// signalContext returns a context that ends with errSignal as its cause.
func signalContext() (context.Context, func()) {
	signal.Ignore(unix.SIGPIPE) // a journald that went away must not end the broker through its stderr
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT)
	go func() {
		<-ch
		cancel(errSignal)
	}()
	return ctx, func() { signal.Stop(ch) }
}

// configure takes over what systemd passed to the process. Without systemd, the
// broker listens at socket and its descriptors die with it.
func configure(socket string) (cfg broker.Config, notify func(string) error, err error) {
	cfg.Warn = warn
	cfg.PeerUID = uint32(os.Getuid())
	cfg.Listener, cfg.Stored, err = broker.ListenFDs(os.Getenv)
	if err != nil {
		return cfg, nil, err
	}
	notify = func(string) error { return nil }
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		store, err := fdstore.Connect(path)
		if err != nil {
			return cfg, nil, err
		}
		cfg.Store = store
		notify = func(state string) error { return store.Notify(state) }
	}
	switch {
	case cfg.Listener >= 0:
		return cfg, notify, nil
	case socket == "":
		return cfg, nil, errors.New("no socket was passed by systemd, and -socket was not given")
	}
	cfg.Idle = -1
	cfg.Listener, err = seqpacket.Listen(socket)
	return cfg, notify, err
}
