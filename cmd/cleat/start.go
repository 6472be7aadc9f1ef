package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

type starter interface {
	Start(ctx context.Context, ref string) error
}

type startRunner interface {
	runner
	getter
}

func newStart(c *cli) *cobra.Command {
	var attach, interactive bool
	var keys string
	cmd := &cobra.Command{
		Use: "start [OPTIONS] CONTAINER [CONTAINER...]", Short: "Start one or more stopped containers",
		Annotations: also("container start", "start"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isStopped),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&attach, "attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	fs.BoolVarP(&interactive, "interactive", "i", false, "Attach container's STDIN")
	fs.StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	refuse(fs, []refusedFlag{{name: "checkpoint", reason: noCheckpoints}, {name: "checkpoint-dir", reason: noCheckpoints}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parsed, err := detachKeys(keys)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		if !attach && !interactive {
			return each(cmd, args, c.echo(eng.Start))
		}
		if len(args) > 1 {
			return errors.New("you cannot start and attach multiple containers at once")
		}
		return c.startAttached(cmd.Context(), eng, args[0], interactive, parsed)
	}
	return cmd
}

// startAttached starts a container and attaches to it as a foreground run does.
func (c *cli) startAttached(ctx context.Context, eng startRunner, ref string, interactive bool, keys []byte) error {
	ct, err := eng.Get(ctx, ref)
	if err != nil {
		return err
	}
	st := streams{stdin: interactive && ct.Process.OpenStdin, stdout: true, stderr: true, tty: ct.Process.TTY, keys: keys}
	if err := needTTY(c, st.tty, st.stdin); err != nil {
		return err
	}
	return c.foreground(ctx, eng, ct, st, !st.tty)
}
