package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type systemPruner interface {
	PruneSystem(ctx context.Context, opt engine.PruneSystemOptions) (engine.Pruned, error)
}

func newSystemPrune(c *cli) *cobra.Command {
	var opt engine.PruneSystemOptions
	var force bool
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused data",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&opt.AllImages, "all", "a", false, "Remove all unused images not just dangling ones")
	filter := defineFilter(fs, "", `Provide filter values (e.g. "label=<key>=<value>")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	fs.BoolVar(&opt.Volumes, "volumes", false, "Prune anonymous volumes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := filter.check("label", "label!", "until")
		if err == nil {
			opt.Filter, err = filter.pruneFilter(time.Now())
		}
		if err != nil {
			return err
		}
		if opt.Volumes && !opt.Filter.Until.IsZero() {
			return errors.New(`the "until" filter is not supported with "--volumes"`)
		}
		return c.prune(cmd, force, systemWarning(opt, filter.lines()), func(ctx context.Context, eng backend) (engine.Pruned, error) {
			return systemPruner(eng).PruneSystem(ctx, opt)
		})
	}
	return cmd
}

// systemWarning is what Docker says before it prunes all.
func systemWarning(opt engine.PruneSystemOptions, filter []string) string {
	lines := []string{"This will remove:", "  - all stopped containers", "  - all networks not used by at least one container"}
	if opt.Volumes {
		lines = append(lines, "  - all anonymous volumes not used by at least one container")
	}
	if opt.AllImages {
		lines = append(lines, "  - all images without at least one container associated to them", "  - all build cache")
	} else {
		lines = append(lines, "  - all dangling images", "  - unused build cache")
	}
	if len(filter) > 0 {
		lines = append(lines, "", "  Items to be pruned will be filtered with:")
		for _, f := range filter {
			lines = append(lines, "  - "+f)
		}
	}
	return strings.Join(append(lines, ""), "\n")
}
