package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// takeSockets takes the sockets that the service manager has handed over, for the
// payload if that inherits them; else they only reserve its ports. Nobody else
// gets them.
func takeSockets(a plan.Annex, opt *sandbox.LaunchOptions) error {
	n := 0
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		var err error
		if n, err = strconv.Atoi(os.Getenv("LISTEN_FDS")); err != nil {
			return fmt.Errorf("read LISTEN_FDS: %w", err)
		}
	}
	for i := range n {
		unix.CloseOnExec(listenFD + i)
	}
	if !a.Inherit {
		return nil
	}
	if n == 0 {
		socket := strings.TrimSuffix(a.Unit, ".service") + ".socket"
		return fmt.Errorf("the container inherits its sockets, and there are none: start it by way of %s: %w", socket, spec.ErrConflict)
	}
	for i := range n {
		opt.Sockets = append(opt.Sockets, listenFD+i)
	}
	if names := os.Getenv("LISTEN_FDNAMES"); names != "" {
		opt.SocketNames = strings.Split(names, ":")
	}
	return nil
}
