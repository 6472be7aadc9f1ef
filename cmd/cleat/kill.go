package main

import (
	"context"

	"github.com/spf13/cobra"
)

type killer interface {
	Kill(ctx context.Context, ref, signal string) error
}

func newKill(c *cli) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill [OPTIONS] CONTAINER [CONTAINER...]", Short: "Kill one or more running containers",
		Annotations: also("container kill", "kill"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isRunning),
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.kill(cmd, eng, signal, args)
	}
	return cmd
}

func (c *cli) kill(cmd *cobra.Command, eng killer, signal string, args []string) error {
	return each(cmd, args, c.echo(func(ctx context.Context, ref string) error { return eng.Kill(ctx, ref, signal) }))
}
