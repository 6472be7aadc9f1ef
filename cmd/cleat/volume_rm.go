package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type volumeRemover interface {
	RemoveVolume(ctx context.Context, name string, opt engine.RemoveVolumeOptions) error
}

func newVolumeRm(c *cli) *cobra.Command {
	var opt engine.RemoveVolumeOptions
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME [VOLUME...]", Short: "Remove one or more volumes",
		Long:        "You cannot remove a volume that is in use by a container.",
		Annotations: also("volume rm", "volume remove"),
		Args:        atLeast(1), ValidArgsFunction: completeVolumes(c),
	}
	cmd.Flags().BoolVarP(&opt.Force, "force", "f", false, "Do not complain about volumes that do not exist")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		remover := volumeRemover(eng)
		return each(cmd, args, c.echo(func(ctx context.Context, name string) error { return remover.RemoveVolume(ctx, name, opt) }))
	}
	return cmd
}
