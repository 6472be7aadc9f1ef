package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type imagePruner interface {
	PruneImages(ctx context.Context, opt engine.PruneImagesOptions) (engine.PrunedImages, error)
}

func newImagePrune(c *cli) *cobra.Command {
	var all, force bool
	var filter []string
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove unused images",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	cmd.Flags().StringArrayVar(&filter, "filter", nil, `Provide filter values (e.g. "until=<timestamp>")`)
	asList(cmd.Flags().Lookup("filter"))
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opt, err := pruneOptions(all, filter, time.Now())
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.pruneImages(cmd.Context(), eng, opt, force)
	}
	return cmd
}

// pruneOptions reads the filters of image prune.
func pruneOptions(all bool, filter []string, now time.Time) (engine.PruneImagesOptions, error) {
	opt := engine.PruneImagesOptions{All: all}
	for _, f := range filter {
		key, value, ok := strings.Cut(f, "=")
		if not, isNot := strings.CutSuffix(key, "!"); ok && isNot && not == "label" {
			opt.NotLabels = append(opt.NotLabels, value)
			continue
		}
		switch {
		case !ok:
			return opt, fmt.Errorf("invalid filter '%s': it has the form KEY=VALUE", f)
		case key == "label":
			opt.Labels = append(opt.Labels, value)
		case key == "dangling" && (value == "true" || value == "1"):
			opt.All = false
		case key == "dangling" && (value == "false" || value == "0"):
			opt.All = true
		case key == "dangling":
			return opt, fmt.Errorf("invalid filter 'dangling=%s': it is true or false", value)
		case key == "until" && !opt.Until.IsZero():
			return opt, fmt.Errorf("invalid filter '%s': more than one until filter", f)
		case key == "until":
			t, err := logTime(value, now)
			if err != nil {
				return opt, fmt.Errorf("invalid filter '%s': %w", f, err)
			}
			if t.IsZero() {
				return opt, fmt.Errorf("invalid filter '%s': it wants a time or a duration", f)
			}
			opt.Until = t
		default:
			return opt, fmt.Errorf("invalid filter '%s': the filters are dangling, label, label!, until", key)
		}
	}
	return opt, nil
}

func (c *cli) pruneImages(ctx context.Context, eng imagePruner, opt engine.PruneImagesOptions, force bool) error {
	warning := "This will remove all dangling images."
	if opt.All {
		warning = "This will remove all images without at least one container associated to them."
	}
	if !force {
		if yes, err := c.confirm(ctx, warning); err != nil || !yes {
			return err
		}
	}
	done, err := eng.PruneImages(ctx, opt)
	if len(done.Removed) > 0 {
		fmt.Fprintln(c.out, "Deleted Images:")
		for _, r := range done.Removed {
			if r.Untagged != "" {
				fmt.Fprintf(c.out, "untagged: %s\n", r.Untagged)
			} else {
				fmt.Fprintf(c.out, "deleted: %s\n", r.Deleted)
			}
		}
		fmt.Fprintln(c.out)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Total reclaimed space: %s\n", format.Size(done.FreedBytes))
	return nil
}
