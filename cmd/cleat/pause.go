package main

import (
	"context"

	"github.com/spf13/cobra"
)

type pauser interface {
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
}

func newPause(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "pause CONTAINER [CONTAINER...]", Short: "Pause all processes within one or more containers",
		Annotations: also("container pause", "pause"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return each(cmd, args, c.echo(pauser(eng).Pause))
		},
	}
}

func newUnpause(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "unpause CONTAINER [CONTAINER...]", Short: "Unpause all processes within one or more containers",
		Annotations: also("container unpause", "unpause"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isPaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return each(cmd, args, c.echo(pauser(eng).Unpause))
		},
	}
}
