package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/spec"
)

type networkRemover interface {
	NetworkRemove(ctx context.Context, ref string) error
}

func newNetworkRm(c *cli) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm NETWORK [NETWORK...]", Short: "Remove one or more networks",
		Annotations: also("network rm", "network remove"),
		Args:        atLeast(1), ValidArgsFunction: completeNetworks(c),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not error if the network does not exist")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.removeNetworks(cmd, eng, force, args)
	}
	return cmd
}

func (c *cli) removeNetworks(cmd *cobra.Command, eng networkRemover, force bool, args []string) error {
	remove := c.echo(eng.NetworkRemove)
	return each(cmd, args, func(ctx context.Context, ref string) error {
		err := remove(ctx, ref)
		if force && errors.Is(err, spec.ErrNotFound) {
			return nil
		}
		return err
	})
}
