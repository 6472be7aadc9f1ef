package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type waiter interface {
	Wait(ctx context.Context, ref string, cond engine.WaitCondition) (int, error)
}

func newWait(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "wait CONTAINER [CONTAINER...]", Short: "Block until one or more containers stop, then print their exit codes",
		Annotations: also("container wait", "wait"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, isRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return c.wait(cmd, eng, args)
		},
	}
}

func (c *cli) wait(cmd *cobra.Command, eng waiter, args []string) error {
	return each(cmd, args, func(ctx context.Context, ref string) error {
		code, err := eng.Wait(ctx, ref, engine.WaitNotRunning)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, code)
		return nil
	})
}
