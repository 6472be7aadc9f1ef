// Command cleat-apid answers Docker's Engine API on a unix socket, in front of the
// same engine that the command cleat works with. systemd starts it with the first
// client; it exits when nobody has been connected for a while, and holds no
// state: killing it at any time stops no container and loses nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cleat-project/cleat/api"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/daemon"
	"github.com/cleat-project/cleat/internal/fdstore"
)

// version is set by the linker.
var version = "unknown"

// defaultIdle is short, since a start takes some milliseconds.
const defaultIdle = time.Minute

var program = daemon.Daemon{Name: "cleat-apid"}

func main() { program.Main(run) }

// options are the flags.
type options struct {
	socket, root, runRoot, config string
	idle                          time.Duration
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.socket, "socket", "", "listen at this `path` instead of a socket from systemd")
	flag.StringVar(&o.root, "root", "", "`directory` of images, containers and volumes")
	flag.StringVar(&o.runRoot, "runroot", "", "`directory` of sockets and locks")
	flag.StringVar(&o.config, "config", "", "`file` with the settings")
	flag.DurationVar(&o.idle, "idle", defaultIdle, "exit after this `time` without clients; negative: never")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	l, idle, err := listen(o)
	if err != nil {
		return err
	}
	tell := func(sentence string) { program.Warn("%s", sentence) }
	eng, err := engine.Open(engine.Options{Root: o.root, RunRoot: o.runRoot, Config: o.config, Version: version, Warn: tell})
	if err != nil {
		return err
	}
	defer eng.Close()
	err = api.New(eng, api.Options{Version: version, Warn: tell, Builder: o.builder()}).Serve(ctx, l, idle)
	if errors.Is(err, api.ErrIdle) || errors.Is(err, daemon.ErrSignal) {
		return nil // nothing is under way that the next client's server could not do
	}
	return err
}

// builder is the program that builds images.
func (o options) builder() api.Program {
	p := api.Program{Args: []string{engine.Helper("cleat-build")}}
	for _, flag := range [][2]string{{"--root=", o.root}, {"--runroot=", o.runRoot}} {
		if flag[1] != "" {
			p.Args = append(p.Args, flag[0]+flag[1])
		}
	}
	if o.config != "" {
		p.Env = []string{"CLEAT_CONFIG=" + o.config}
	}
	return p
}

// listen takes over the socket that systemd passed, or makes one of its own, where
// the server stays for ever.
func listen(o options) (net.Listener, time.Duration, error) {
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return nil, 0, err
	}
	if len(passed) > 1 {
		return nil, 0, errors.New(strconv.Itoa(len(passed)) + " sockets were passed by systemd: one is expected")
	}
	if len(passed) == 1 {
		f := os.NewFile(uintptr(passed[0].FD), "socket")
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, 0, fmt.Errorf("take over the socket from systemd: %w", err)
		}
		return l, o.idle, nil
	}
	if o.socket == "" {
		return nil, 0, errors.New("no socket was passed by systemd, and -socket was not given")
	}
	l, err := listenAt(o.socket)
	return l, -1, err
}

// listenAt makes a socket that its owner and its group may use. One that is left
// behind by a process that has ended is replaced.
func listenAt(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close() // somebody answers there
		return nil, fmt.Errorf("listen at %s: another server does already", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // else the next call tells
	}
	old := syscall.Umask(0o117)
	defer syscall.Umask(old)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return l, nil
}
