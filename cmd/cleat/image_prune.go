package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type imagePruner interface {
	PruneImages(ctx context.Context, opt engine.PruneImagesOptions) (engine.Pruned, error)
}

func newImagePrune(c *cli) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused images",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	filter := defineFilter(cmd.Flags(), "", `Provide filter values (e.g. "until=<timestamp>")`)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opt, err := pruneImagesOptions(all, filter, time.Now())
		if err != nil {
			return err
		}
		warning := "This will remove all dangling images."
		if opt.All {
			warning = "This will remove all images without at least one container associated to them."
		}
		return c.prune(cmd, force, warning, func(ctx context.Context, eng backend) (engine.Pruned, error) {
			return imagePruner(eng).PruneImages(ctx, opt)
		})
	}
	return cmd
}

// pruneImagesOptions reads the filters. That for dangling outweighs --all, as in
// Docker.
func pruneImagesOptions(all bool, filter listFilter, now time.Time) (engine.PruneImagesOptions, error) {
	opt := engine.PruneImagesOptions{All: all}
	if err := filter.check("dangling", "label", "label!", "until"); err != nil {
		return opt, err
	}
	dangling, err := filter.truth("dangling")
	if err != nil {
		return opt, err
	}
	if dangling != nil {
		opt.All = !*dangling
	}
	opt.Filter, err = filter.pruneFilter(now)
	return opt, err
}
