package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type committer interface {
	Commit(ctx context.Context, ref string, opt engine.CommitOptions) (engine.Image, error)
}

func newCommit(c *cli) *cobra.Command {
	var opt engine.CommitOptions
	var pause bool
	cmd := &cobra.Command{
		Use: "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Short: "Create a new image from a container's changes",
		Annotations: also("container commit", "commit"),
		Args:        between(1, 2), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
	}
	fs := cmd.Flags()
	fs.StringVarP(&opt.Author, "author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	fs.StringArrayVarP(&opt.Changes, "change", "c", nil, "Apply Dockerfile instruction to the created image")
	asList(fs.Lookup("change"))
	fs.StringVarP(&opt.Message, "message", "m", "", "Commit message")
	fs.BoolVarP(&pause, "pause", "p", true, "Pause container during commit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 2 {
			opt.Reference = args[1]
		}
		opt.NoPause = !pause
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.commit(cmd.Context(), eng, args[0], opt)
	}
	return cmd
}

func (c *cli) commit(ctx context.Context, eng committer, ref string, opt engine.CommitOptions) error {
	img, err := eng.Commit(ctx, ref, opt)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, img.ID)
	return nil
}
