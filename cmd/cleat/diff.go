package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type differ interface {
	Changes(ctx context.Context, ref string) ([]engine.Change, error)
}

func newDiff(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "diff CONTAINER", Short: "Inspect changes to files or directories on a container's filesystem",
		Annotations: also("container diff", "diff"),
		Args:        exactly(1), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return c.diff(cmd.Context(), eng, args[0])
		},
	}
}

func (c *cli) diff(ctx context.Context, eng differ, ref string) error {
	changes, err := eng.Changes(ctx, ref)
	if err != nil {
		return err
	}
	for _, change := range changes {
		fmt.Fprintf(c.out, "%s %s\n", change.Kind, change.Path)
	}
	return nil
}
