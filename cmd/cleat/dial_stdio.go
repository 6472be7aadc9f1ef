package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"
)

const dialLong = `
Docker's client runs this on the other machine when it is given a host such as
ssh://USER@HOST: there, the program has to be called docker, which the package
cleat-docker provides for. Who may use the socket needs not be root.`

// defaultRunRoot is that of package state, which front ends do not import.
const defaultRunRoot = "/run/cleat"

func newDialStdio(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "Connect stdin and stdout with the Docker API", Long: dialLong, Hidden: true,
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions, Annotations: map[string]string{placeKey: placeMember},
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := filepath.Join(cmp.Or(c.runRoot, defaultRunRoot), "cleat.sock")
			conn, err := (&net.Dialer{}).DialContext(cmd.Context(), "unix", path)
			if err != nil {
				return hinted(fmt.Errorf("connect with the API: %w", err), "is cleat.socket started, and the user a member of the group cleat?")
			}
			return relay(cmd.Context(), conn, c.in, c.out)
		},
	}
}

// relay copies both ways until the server has nothing more to say, or ctx ends.
func relay(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite())
		}
		sent <- err
	}()
	_, err := io.Copy(out, conn)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case sendErr := <-sent:
		return errors.Join(sendErr, err)
	default:
		return err // what is still to be read is for nobody
	}
}
