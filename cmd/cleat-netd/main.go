// Command cleat-netd is the DNS server of containers on user-defined networks: it
// answers at 127.0.0.11 inside of each of them, for the names of the containers
// on its networks, and passes the rest on. systemd starts it with the first
// container and keeps its sockets when it is restarted.
//
// It exits with 0 when there has been no container for a while, and with 75 when
// it is told to stop while there are some, so that Restart=on-failure brings it
// back with all sockets. To upgrade it, "systemctl restart cleat-netd": questions
// wait meanwhile. Never "systemctl stop" it while containers run: before version
// 254 systemd then closes their sockets.
//
// It is also what serves single containers whose published ports the firewall alone
// cannot serve, each for a short while:
//
//	cleat-netd [-root DIR] [-runroot DIR] proxy ID   carries connections from sockets to the container
//	cleat-netd [-root DIR] [-runroot DIR] idle ID    stops the container if it has nothing to do
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/daemon"
	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns/serve"
	"github.com/cleat-project/cleat/state"
)

var program = daemon.Daemon{Name: "cleat-netd"}

func main() { program.Main(run) }

func run(ctx context.Context) error {
	socket := flag.String("socket", "", "listen at this `path` instead of a socket from systemd")
	root := flag.String("root", state.DefaultRoot, "`directory` of the records of networks")
	runRoot := flag.String("runroot", state.DefaultRunRoot, "`directory` of the records of running containers")
	idle := flag.Duration("idle", serve.DefaultIdle, "exit after this `time` without containers; negative: never")
	flag.Parse()
	store := state.At(*root, *runRoot)
	switch {
	case flag.NArg() == 2 && flag.Arg(0) == "proxy":
		return proxyFor(ctx, store, flag.Arg(1))
	case flag.NArg() == 2 && flag.Arg(0) == "idle":
		return rest(ctx, store, flag.Arg(1))
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	cfg, notify, err := configure(*socket, *idle)
	if err != nil {
		return err
	}
	cfg.Lives = netd.NewLives(filepath.Join(*runRoot, netd.LiveDir))
	cfg.Network = func(id string) (n netd.Network, err error) { return n, store.LoadNetwork(id, &n) }
	s, err := serve.New(cfg)
	if err != nil {
		return err
	}
	if err := notify("READY=1"); err != nil {
		return err
	}
	return s.Serve(ctx)
}

// configure takes over what systemd passed to the process. Without systemd, the
// server listens at socket, for ever, and its sockets die with it.
func configure(socket string, idle time.Duration) (cfg serve.Config, notify func(string) error, err error) {
	cfg.Warn, cfg.PeerUID, cfg.Idle = program.Warn, uint32(os.Getuid()), idle
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return cfg, nil, err
	}
	cfg.Listener, cfg.Stored = -1, passed[:0]
	for _, p := range passed {
		if domain, err := unix.GetsockoptInt(p.FD, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_UNIX {
			cfg.Listener = p.FD
			continue
		}
		cfg.Stored = append(cfg.Stored, p)
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
