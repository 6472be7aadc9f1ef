// Command cleat-compose runs Compose projects: "cleat compose" executes it. It is
// a program of its own because reading compose files takes longer to start than
// everything else that cleat does. There is a file for every verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/host"
	"github.com/cleat-project/cleat/internal/interrupt"
)

// version is set by the linker.
var version = "unknown"

func main() {
	host.Init()
	os.Exit(run(os.Args[1:]))
}

// run is main with its exit status.
func run(args []string) int {
	ctx, release := interrupt.Context(context.Background())
	defer release()
	c := &cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, releaseSignals: release}
	defer c.close()
	root := newRoot(c)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return c.report(cmd, err)
}

// exitCode ends the program with a code, without a word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// engine opens the engine on first use. It stays open until close.
func (c *cli) engine() (*engine.Engine, error) {
	if c.eng != nil {
		return c.eng, nil
	}
	eng, err := engine.Open(engine.Options{Root: c.root, RunRoot: c.runRoot, Config: os.Getenv("CLEAT_CONFIG"), Version: version, Warn: c.warn})
	if err == nil {
		c.eng = eng
	}
	return c.eng, err
}

func (c *cli) close() {
	if c.eng != nil {
		c.eng.Close()
	}
}

// enter brings the process to where systemd is: as root, and inside the embedded
// host where PID 1 is something else.
func (c *cli) enter(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: cleat works on systemd, mounts and namespaces of the whole machine; run it with sudo")
	}
	if !host.Needed() {
		return nil
	}
	opt := host.Options{Root: c.root, RunRoot: c.runRoot}
	started, err := host.EnsureRunning(ctx, opt)
	if err != nil {
		return err
	}
	if started {
		fmt.Fprintf(c.err, "cleat: systemd does not run here; started an embedded host for %s (see 'cleat host --help')\n", opt.Root)
	}
	c.releaseSignals() // from here on they are the command's inside
	code, err := host.Enter(ctx, opt)
	if err != nil {
		return err
	}
	return exitCode(code)
}
