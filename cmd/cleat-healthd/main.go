// Command cleat-healthd runs the health checks of all containers. systemd starts it
// with the first container that has one, and it exits when none is left.
//
// It keeps nothing that is not on disk, so it may be killed at any time. It exits
// with 0 when there has been no container for a while, and with 75 when it is told
// to stop while there may be some, so that Restart=on-failure brings it back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/health"
	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/state"
)

// exitAgain is EX_TEMPFAIL of sysexits.h: the service has to be started again.
const exitAgain = 75

// gcPercent keeps the daemon small at rest: what it holds is little, and what a
// check needs is short-lived.
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

// warn writes to stderr, which is the daemon's log, at level "warning"; see
// sd-daemon(3).
func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "<4>cleat-healthd: "+format+"\n", args...)
}

func run() error {
	root := flag.String("root", state.DefaultRoot, "`directory` of the containers")
	runRoot := flag.String("runroot", state.DefaultRunRoot, "`directory` of the records of running containers")
	idle := flag.Duration("idle", health.DefaultIdle, "exit after this `time` without containers; negative: never")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signalContext()
	defer stop()
	socket, err := passedSocket()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return health.New(health.Config{
		Socket: socket, Store: state.At(*root, *runRoot), Helper: filepath.Join(filepath.Dir(self), "cleat-init"), Idle: *idle, Warn: warn,
	}).Serve(ctx)
}

// signalContext returns a context that ends with errSignal as its cause.
func signalContext() (context.Context, func()) {
	signal.Ignore(unix.SIGPIPE) // a journald that went away must not end the daemon through its stderr
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT)
	go func() {
		<-ch
		cancel(errSignal)
	}()
	return ctx, func() { signal.Stop(ch) }
}

// passedSocket returns the socket that systemd listens at for us.
func passedSocket() (*net.UnixConn, error) {
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return nil, err
	}
	if len(passed) != 1 {
		return nil, fmt.Errorf("%d sockets were passed by systemd, not one: start cleat-healthd.socket instead", len(passed))
	}
	f := os.NewFile(uintptr(passed[0].FD), "socket")
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket: %w", err)
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("the socket that was passed is no unix(7) datagram socket")
	}
	return socket, nil
}

// ready tells systemd, if that is what started us.
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	manager, err := fdstore.Connect(path)
	if err != nil {
		return err
	}
	return manager.Notify("READY=1")
}
