package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type attacher interface {
	Attach(ctx context.Context, ref string, opt engine.AttachOptions) (*engine.Session, error)
	ResizeTTY(ctx context.Context, ref string, height, width uint16) error
}

type attachRunner interface {
	attacher
	getter
	waiter
	killer
}

type getter interface {
	Get(ctx context.Context, ref string) (engine.Container, error)
}

func newAttach(c *cli) *cobra.Command {
	var noStdin, sigProxy bool
	var keys string
	cmd := &cobra.Command{
		Use: "attach [OPTIONS] CONTAINER", Short: "Attach local standard input, output, and error streams to a running container",
		Annotations: also("container attach", "attach"),
		Args:        exactly(1), ValidArgsFunction: completeContainers(c, isRunning),
	}
	cmd.Flags().StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "Do not attach STDIN")
	cmd.Flags().BoolVar(&sigProxy, "sig-proxy", true, "Proxy all received signals to the process")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parsed, err := detachKeys(keys)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		ct, err := eng.Get(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := attachable(ct); err != nil {
			return err
		}
		st := streams{stdin: ct.Process.OpenStdin && !noStdin, stdout: true, stderr: true, tty: ct.Process.TTY, keys: parsed}
		if err := needTTY(c, st.tty, st.stdin); err != nil {
			return err
		}
		return c.attach(cmd.Context(), eng, ct, st, sigProxy && !st.tty)
	}
	return cmd
}

// attachable explains in Docker's words why a container cannot be attached to.
func attachable(ct engine.Container) error {
	switch ct.Status {
	case engine.StatusRunning:
		return nil
	case engine.StatusPaused:
		return errors.New("you cannot attach to a paused container, unpause it first")
	case engine.StatusRestarting:
		return errors.New("you cannot attach to a restarting container, wait until it is running")
	}
	return errors.New("you cannot attach to a stopped container, start it first")
}

// attach joins a running container and ends with its exit code.
func (c *cli) attach(ctx context.Context, eng attachRunner, ct engine.Container, st streams, sigProxy bool) error {
	s, err := eng.Attach(ctx, ct.ID, engine.AttachOptions{Stdin: st.stdin, Stdout: st.stdout, Stderr: st.stderr})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // it is read to its end, or the user left it
	if sigProxy {
		ctx = context.WithoutCancel(ctx)
		defer c.proxy(ctx, eng, ct.ID)()
	}
	err = c.streamWithSize(ctx, eng, ct.ID, s, st)
	if errors.Is(err, errDetached) {
		return nil
	}
	if err != nil {
		return err
	}
	code, err := eng.Wait(ctx, ct.ID, engine.WaitNotRunning)
	return exitWith(code, err)
}
