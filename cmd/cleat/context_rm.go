package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newContextRm(c *cli) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm CONTEXT [CONTEXT...]", Short: "Remove one or more contexts",
		Annotations: contextPlace(), Args: atLeast(1), ValidArgsFunction: completeContexts(c),
	}
	annotate(cmd, aliasesKey, "cleat context rm, cleat context remove")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of a context in use")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(cmd, args, c.echo(func(ctx context.Context, name string) error { return c.contexts().Remove(ctx, name, force) }))
	}
	return cmd
}
