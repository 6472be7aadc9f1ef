package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
)

type stopper interface {
	Stop(ctx context.Context, ref string, opt engine.StopOptions) error
}

type restarter interface {
	Restart(ctx context.Context, ref string, opt engine.StopOptions) error
}

// stopFlags are those of stop and restart.
type stopFlags struct {
	signal  string
	seconds int
}

func (f *stopFlags) define(fs *pflag.FlagSet) {
	fs.StringVarP(&f.signal, "signal", "s", "", "Signal to send to the container")
	fs.IntVarP(&f.seconds, "timeout", "t", 0, "Seconds to wait before killing the container, -1 to wait for ever")
	fs.IntVar(&f.seconds, "time", 0, "Seconds to wait before killing the container")
	_ = fs.MarkHidden("time") // defined one line above; it is the flag's old name
}

func (f *stopFlags) options(fs *pflag.FlagSet) engine.StopOptions {
	opt := engine.StopOptions{Signal: f.signal}
	if fs.Changed("timeout") || fs.Changed("time") {
		opt.Grace = new(time.Duration(f.seconds) * time.Second)
	}
	return opt
}

const stopLong = `
The container gets its stop signal (SIGTERM unless the image or --stop-signal
says otherwise) and, after 10 seconds or its --stop-timeout, SIGKILL. If the
signal can have no effect, because PID 1 of the container neither handles it
nor may be ended by it, the container is killed at once instead of waiting in
vain. A timeout that is given, here or with --stop-timeout, is waited for.`

func newStop(c *cli) *cobra.Command {
	f := &stopFlags{}
	cmd := &cobra.Command{
		Use: "stop [OPTIONS] CONTAINER [CONTAINER...]", Short: "Stop one or more running containers", Long: stopLong,
		Annotations: also("container stop", "stop"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isRunning),
	}
	f.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.stop(cmd, eng, f.options(cmd.Flags()), args)
	}
	return cmd
}

func (c *cli) stop(cmd *cobra.Command, eng stopper, opt engine.StopOptions, args []string) error {
	return each(cmd, args, c.echo(func(ctx context.Context, ref string) error { return eng.Stop(ctx, ref, opt) }))
}

func newRestart(c *cli) *cobra.Command {
	f := &stopFlags{}
	cmd := &cobra.Command{
		Use: "restart [OPTIONS] CONTAINER [CONTAINER...]", Short: "Restart one or more containers",
		Annotations: also("container restart", "restart"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, nil),
	}
	f.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.restart(cmd, eng, f.options(cmd.Flags()), args)
	}
	return cmd
}

func (c *cli) restart(cmd *cobra.Command, eng restarter, opt engine.StopOptions, args []string) error {
	return each(cmd, args, c.echo(func(ctx context.Context, ref string) error { return eng.Restart(ctx, ref, opt) }))
}
