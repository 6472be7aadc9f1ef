package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

const serveLong = `
Serve Docker's Engine API on a socket of its own, until it is interrupted, for
clients such as "docker -H unix://PATH" and DOCKER_HOST. Where cleat is installed,
systemd does that already at /run/cleat/cleat.sock, for root and the group cleat:
this command is for checkouts and further sockets. Who may use the socket is as
good as root. So clients that come over TCP have to show a certificate:

  cleat serve --host tcp://192.0.2.1:2376 --tlsverify --tlscacert ca.pem \
      --tlscert cert.pem --tlskey key.pem`

// serveFlags are the flags of serve.
type serveFlags struct {
	host string

	tls, verify, insecure bool
	ca, cert, key         string
}

func newServe(c *cli) *cobra.Command { return newServeWith(c, &serveFlags{}) }

func newServeWith(c *cli, f *serveFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve [OPTIONS]", Short: "Serve Docker's Engine API on a unix socket, or over TLS", Long: serveLong,
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.host, "host", "H", "", "Socket to listen at (unix://PATH or tcp://ADDRESS:PORT)")
	fs.BoolVar(&f.verify, "tlsverify", false, "Use TLS and want certificates of clients")
	fs.BoolVar(&f.tls, "tls", false, "Use TLS, with --tlsverify or --insecure-no-client-certificates")
	fs.StringVar(&f.ca, "tlscacert", "", "Trust certificates of clients that are signed by this authority (default \"/etc/cleat/tls/ca.pem\")")
	fs.StringVar(&f.cert, "tlscert", "", "File with the certificate of the server (default \"/etc/cleat/tls/cert.pem\")")
	fs.StringVar(&f.key, "tlskey", "", "File with the key of that (default \"/etc/cleat/tls/key.pem\")")
	fs.BoolVar(&f.insecure, "insecure-no-client-certificates", false, "Let in over TCP whoever comes, as good as root; without --tls, unencrypted")
	cmd.RunE = func(*cobra.Command, []string) error {
		args, err := f.command(c)
		if err != nil {
			return err
		}
		program := engine.Helper(args[0])
		if err := syscall.Exec(program, args, syscall.Environ()); err != nil {
			return fmt.Errorf("start %s: %w", program, err)
		}
		return nil
	}
	return cmd
}

// command returns the command line of the server.
func (f *serveFlags) command(c *cli) ([]string, error) {
	args, err := f.address()
	if err != nil {
		return nil, err
	}
	args = append([]string{"cleat-apid"}, args...)
	for _, o := range [][2]string{{"-root", c.root}, {"-runroot", c.runRoot}} {
		if o[1] != "" {
			args = append(args, o[0], o[1])
		}
	}
	if settings, _ := c.lookup("CLEAT_CONFIG"); settings != "" {
		args = append(args, "-config", settings)
	}
	return args, nil
}

// address says where the server listens.
func (f *serveFlags) address() ([]string, error) {
	kind, rest, _ := strings.Cut(f.host, "://")
	switch {
	case f.host == "":
		return nil, hinted(errors.New("no socket given"), "use --host unix://PATH")
	case kind == "tcp":
		return f.tcp(rest)
	case kind != "unix":
		return nil, fmt.Errorf("invalid socket %q: it has the form unix://PATH or tcp://ADDRESS:PORT", f.host)
	case f.tls || f.verify || f.insecure || f.ca+f.cert+f.key != "":
		return nil, errors.New("--tls, --tlsverify and their like are for tcp://ADDRESS:PORT")
	case !filepath.IsAbs(rest):
		return nil, fmt.Errorf("invalid socket %q: its path has to be absolute", f.host)
	}
	return []string{"-socket", rest}, nil
}

// tcp says how the server listens at an address of the network.
func (f *serveFlags) tcp(address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) == nil || port == "" {
		return nil, fmt.Errorf("invalid socket %q: it has the form tcp://ADDRESS:PORT, with the address in numbers", f.host)
	}
	switch {
	case !f.verify && !f.insecure && f.tls:
		return nil, hinted(fmt.Errorf("%s would be served to clients without certificates, and whoever reaches it would be as good as root", f.host), "use --tlsverify")
	case !f.verify && !f.insecure:
		return nil, hinted(fmt.Errorf("%s would be served to everybody, and whoever reaches it would be as good as root", f.host),
			"use --tlsverify with --tlscacert, --tlscert and --tlskey; or forward a unix socket with ssh")
	}
	args := []string{"-tcp", address}
	for _, o := range []struct {
		name string
		on   bool
	}{{"-tls", f.tls}, {"-tlsverify", f.verify}, {"-insecure-no-client-certificates", f.insecure}} {
		if o.on {
			args = append(args, o.name)
		}
	}
	for _, o := range [][2]string{{"-tlscacert", f.ca}, {"-tlscert", f.cert}, {"-tlskey", f.key}} {
		if o[1] != "" {
			args = append(args, o[0], o[1])
		}
	}
	return args, nil
}
