package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type networkPruner interface {
	PruneNetworks(ctx context.Context, f engine.PruneFilter) (engine.Pruned, error)
}

func newNetworkPrune(c *cli) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all unused networks",
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
		warning := "This will remove all custom networks not used by at least one container."
		if lines := filter.lines(); len(lines) > 0 {
			warning += "\n\n  Items to be pruned will be filtered with:\n  - " + strings.Join(lines, "\n  - ") + "\n"
		}
		if !force {
			if yes, err := c.confirm(cmd.Context(), warning); err != nil || !yes {
				return err
			}
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.pruneNetworks(cmd.Context(), eng, f)
	}
	return cmd
}

// pruneNetworks prints what is gone. Space is not given back by it.
func (c *cli) pruneNetworks(ctx context.Context, eng networkPruner, f engine.PruneFilter) error {
	done, err := eng.PruneNetworks(ctx, f)
	for _, kind := range done.Kinds {
		if len(kind.Removed) == 0 {
			continue
		}
		fmt.Fprintf(c.out, "Deleted %s:\n%s\n\n", kind.Name, strings.Join(kind.Removed, "\n"))
	}
	return err
}
