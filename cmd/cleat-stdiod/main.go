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

	"github.com/cleat-project/cleat/internal/daemon"
	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/broker"
)

var program = daemon.Daemon{Name: "cleat-stdiod"}

func main() { program.Main(run) }

func run(ctx context.Context) error {
	socket := flag.String("socket", "", "listen at this `path` instead of a socket from systemd")
	journal := flag.String("journal", broker.JournalSocket, "send log entries to the socket at this `path`")
	idle := flag.Duration("idle", broker.DefaultIdle, "exit after this `time` without containers and clients; negative: never")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
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

// configure takes over what systemd passed to the process. Without systemd, the
// broker listens at socket and its descriptors die with it.
func configure(socket string) (cfg broker.Config, notify func(string) error, err error) {
	cfg.Warn = program.Warn
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
