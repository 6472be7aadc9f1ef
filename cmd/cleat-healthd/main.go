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
	"path/filepath"

	"github.com/cleat-project/cleat/health"
	"github.com/cleat-project/cleat/internal/daemon"
	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/state"
)

var program = daemon.Daemon{Name: "cleat-healthd"}

func main() { program.Main(run) }

func run(ctx context.Context) error {
	root := flag.String("root", state.DefaultRoot, "`directory` of the containers")
	runRoot := flag.String("runroot", state.DefaultRunRoot, "`directory` of the records of running containers")
	idle := flag.Duration("idle", health.DefaultIdle, "exit after this `time` without containers; negative: never")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	socket, stored, err := takePassed()
	if err != nil {
		return err
	}
	manager, err := health.Connect(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := health.New(health.Config{
		Socket: socket, Store: state.At(*root, *runRoot), Helper: filepath.Join(filepath.Dir(self), "cleat-init"), Idle: *idle,
		Manager: manager, Stored: stored, Warn: program.Warn,
	})
	if err := manager.Ready(); err != nil {
		return err
	}
	return server.Serve(ctx)
}

// takePassed returns what systemd passed: the socket that it listens at for us, and
// the descriptors that it kept.
func takePassed() (socket *net.UnixConn, stored []fdstore.Passed, err error) {
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range passed {
		if p.Name != socketName {
			stored = append(stored, p)
			continue
		}
		f := os.NewFile(uintptr(p.FD), "socket")
		conn, err := net.FilePacketConn(f)
		_ = f.Close() // conn has its own
		if err != nil {
			return nil, nil, fmt.Errorf("use socket: %w", err)
		}
		var ok bool
		if socket, ok = conn.(*net.UnixConn); !ok {
			return nil, nil, errors.New("the socket that was passed is no unix(7) datagram socket")
		}
	}
	if socket == nil {
		return nil, nil, errors.New("no socket was passed by systemd: start " + socketName + " instead")
	}
	return socket, stored, nil
}

// socketName is the unit, and what systemd calls the descriptor after it.
const socketName = "cleat-healthd.socket"
