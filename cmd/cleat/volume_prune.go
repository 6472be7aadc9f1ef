package main

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type volumePruner interface {
	PruneVolumes(ctx context.Context, opt engine.PruneVolumesOptions) (engine.Pruned, error)
}

func newVolumePrune(c *cli) *cobra.Command {
	var all, force bool
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused local volumes",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Remove all unused volumes, not just anonymous ones")
	filter := defineFilter(fs, "", `Provide filter values (e.g. "label=<label>")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opt, err := volumePruneOptions(filter, all)
		if err != nil {
			return err
		}
		warning := "This will remove anonymous local volumes not used by at least one container."
		if opt.All {
			warning = "This will remove all local volumes not used by at least one container."
		}
		return c.prune(cmd, force, warning, func(ctx context.Context, eng backend) (engine.Pruned, error) {
			return volumePruner(eng).PruneVolumes(ctx, opt)
		})
	}
	return cmd
}

// volumePruneOptions reads the filters; "all" is one too.
func volumePruneOptions(l listFilter, all bool) (engine.PruneVolumesOptions, error) {
	if err := l.check("all", "label", "label!"); err != nil {
		return engine.PruneVolumesOptions{}, err
	}
	asked, err := l.truth("all")
	if err != nil {
		return engine.PruneVolumesOptions{}, err
	}
	f, err := l.pruneFilter(time.Now())
	return engine.PruneVolumesOptions{All: all || asked != nil && *asked, Filter: f}, err
}

// prune asks, unless it is forced, does it, and prints what is gone.
func (c *cli) prune(cmd *cobra.Command, force bool, warning string, do func(context.Context, backend) (engine.Pruned, error)) error {
	if !force {
		if yes, err := c.confirm(cmd.Context(), warning); err != nil || !yes {
			return err
		}
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	done, err := do(cmd.Context(), eng)
	c.printPruned(done)
	return err
}

// printPruned lists what is gone, by kind, and what space that gave back.
func (c *cli) printPruned(done engine.Pruned) {
	for _, kind := range done.Kinds {
		if len(kind.Removed) == 0 {
			continue
		}
		fmt.Fprintf(c.out, "Deleted %s:\n", kind.Name)
		for _, name := range kind.Removed {
			fmt.Fprintln(c.out, name)
		}
		fmt.Fprintln(c.out)
	}
	fmt.Fprintf(c.out, "Total reclaimed space: %s\n", units.HumanSize(float64(done.Bytes)))
}
