package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type containerPruner interface {
	PruneContainers(ctx context.Context, f engine.PruneFilter) (engine.Pruned, error)
}

func newContainerPrune(c *cli) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all stopped containers",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	filter := defineFilter(cmd.Flags(), "", `Provide filter values (e.g. "until=<timestamp>")`)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := filter.check("label", "label!", "until"); err != nil {
			return err
		}
		f, err := filter.pruneFilter(time.Now())
		if err != nil {
			return err
		}
		return c.prune(cmd, force, "This will remove all stopped containers.", func(ctx context.Context, eng backend) (engine.Pruned, error) {
			return containerPruner(eng).PruneContainers(ctx, f)
		})
	}
	return cmd
}
