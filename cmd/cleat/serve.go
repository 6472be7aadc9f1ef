package main

import (
	"errors"
	"fmt"
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
good as root.`

// serveFlags are the flags of serve.
type serveFlags struct {
	host string
}

func newServe(c *cli) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use: "serve [OPTIONS]", Short: "Serve Docker's Engine API on a unix socket", Long: serveLong,
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&f.host, "host", "H", "", "Socket to listen at (unix://PATH)")
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
	path, ok := strings.CutPrefix(f.host, "unix://")
	switch {
	case f.host == "":
		return nil, hinted(errors.New("no socket given"), "use --host unix://PATH")
	case strings.HasPrefix(f.host, "tcp://"):
		return nil, hinted(fmt.Errorf("cannot listen at %q: the API is as good as root, and is served on unix sockets only", f.host), "forward the socket with ssh")
	case !ok:
		return nil, fmt.Errorf("invalid socket %q: it has the form unix://PATH", f.host)
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("invalid socket %q: its path has to be absolute", f.host)
	}
	args := []string{"cleat-apid", "-socket", path}
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
