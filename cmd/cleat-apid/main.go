// Command cleat-apid answers Docker's Engine API on a unix socket, or over TLS, in front of
// the same engine that the command cleat works with. systemd starts it with the first
// client; it exits when nobody has been connected for a while, and holds no
// state: killing it at any time stops no container and loses nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/cleat-project/cleat/api"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/daemon"
)

// version is set by the linker.
var version = "unknown"

// defaultIdle is short, since a start takes some milliseconds.
const defaultIdle = time.Minute

var program = daemon.Daemon{Name: "cleat-apid"}

func main() { program.Main(run) }

// options are the flags.
type options struct {
	socket, tcp, root, runRoot, config string
	idle                               time.Duration
	tls                                tlsOptions
	debug                              bool
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.socket, "socket", "", "listen at this `path` instead of a socket from systemd")
	flag.StringVar(&o.root, "root", "", "`directory` of images, containers and volumes")
	flag.StringVar(&o.runRoot, "runroot", "", "`directory` of sockets and locks")
	flag.StringVar(&o.config, "config", "", "`file` with the settings")
	flag.DurationVar(&o.idle, "idle", defaultIdle, "exit after this `time` without clients; negative: never")
	flag.StringVar(&o.tcp, "tcp", "", "listen at this `address:port` instead, with TLS")
	flag.BoolVar(&o.tls.tls, "tls", false, "use TLS; clients may come without certificates, see -insecure-no-client-certificates")
	flag.BoolVar(&o.tls.verify, "tlsverify", false, "use TLS, and want certificates of clients: what a TCP socket has by itself")
	flag.StringVar(&o.tls.ca, "tlscacert", "", "`file` with the authority that clients have certificates from (default "+tlsDir+"/ca.pem)")
	flag.StringVar(&o.tls.cert, "tlscert", "", "`file` with the server's certificate (default "+tlsDir+"/cert.pem)")
	flag.StringVar(&o.tls.key, "tlskey", "", "`file` with the key of that (default "+tlsDir+"/key.pem)")
	flag.BoolVar(&o.tls.insecure, "insecure-no-client-certificates", false, "let in over TCP whoever comes; without -tls there is no TLS at all then")
	flag.BoolVar(&o.debug, "debug", false, "tell clients what the process uses, at /debug/vars")
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
	err = api.New(eng, api.Options{Version: version, Debug: o.debug, Warn: tell, Builder: o.builder()}).Serve(ctx, l, idle)
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
