package main

import (
	"context"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type buildPruner interface {
	PruneBuilds(ctx context.Context, opt engine.PruneBuildsOptions) (engine.Pruned, error)
}

func newBuilderPrune(c *cli) *cobra.Command {
	var opt engine.PruneBuildsOptions
	var force bool
	var keep string
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove build cache",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&opt.All, "all", "a", false, "Remove all unused build cache, not just dangling ones")
	filter := defineFilter(fs, "", `Provide filter values (e.g. "until=24h", "type=regular")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	fs.StringVar(&keep, "keep-storage", "", "Amount of disk space to keep for cache")
	asType(fs.Lookup("keep-storage"), "bytes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := buildPruneOptions(&opt, filter, keep, time.Now()); err != nil {
			return err
		}
		warning := "This will remove all dangling build cache."
		if opt.All {
			warning = "This will remove all build cache."
		}
		return c.prune(cmd, force, warning, func(ctx context.Context, eng backend) (engine.Pruned, error) {
			return buildPruner(eng).PruneBuilds(ctx, opt)
		})
	}
	return cmd
}

func buildPruneOptions(opt *engine.PruneBuildsOptions, filter listFilter, keep string, now time.Time) error {
	if err := filter.check(append(engine.BuildFilters(), "until")...); err != nil {
		return err
	}
	for _, word := range engine.BuildFilters() {
		if values, ok := filter[word]; ok {
			opt.Filter = withFilter(opt.Filter, word, values)
			delete(filter, word)
		}
	}
	f, err := filter.pruneFilter(now)
	if err != nil {
		return err
	}
	opt.Before = f.Until
	if keep != "" {
		opt.KeepBytes, err = units.FromHumanSize(keep)
	}
	return err
}

func withFilter(m map[string][]string, word string, values []string) map[string][]string {
	if m == nil {
		m = map[string][]string{}
	}
	m[word] = values
	return m
}
