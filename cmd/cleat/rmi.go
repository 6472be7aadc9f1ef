package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type imageRemover interface {
	RemoveImage(ctx context.Context, ref string, opt engine.RemoveImageOptions) ([]engine.RemovedImage, error)
}

func newRmi(c *cli) *cobra.Command {
	var opt engine.RemoveImageOptions
	cmd := &cobra.Command{
		Use: "rmi [OPTIONS] IMAGE [IMAGE...]", Short: "Remove one or more images",
		Annotations: also("image rm", "image remove", "rmi"),
		Args:        atLeast(1), ValidArgsFunction: completeImages(c),
	}
	cmd.Flags().BoolVarP(&opt.Force, "force", "f", false, "Force removal of the image")
	cmd.Flags().Bool("no-prune", false, "Do not delete untagged parents (an image here has none)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.removeImages(cmd, eng, opt, args)
	}
	withPlatform(c, cmd, "Remove only if the image is for the given platform")
	return cmd
}

func (c *cli) removeImages(cmd *cobra.Command, eng imageRemover, opt engine.RemoveImageOptions, args []string) error {
	return each(cmd, args, c.unlessGone(opt.Force, func(ctx context.Context, ref string) error {
		removed, err := eng.RemoveImage(ctx, ref, opt)
		for _, r := range removed {
			fmt.Fprintln(c.out, r)
		}
		return err
	}))
}
