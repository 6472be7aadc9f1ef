package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type networkDisconnector interface {
	NetworkDisconnect(ctx context.Context, network, container string, opt engine.NetworkDisconnectOptions) error
}

func newNetworkDisconnect(c *cli) *cobra.Command {
	var opt engine.NetworkDisconnectOptions
	cmd := &cobra.Command{
		Use: "disconnect [OPTIONS] NETWORK CONTAINER", Short: "Disconnect a container from a network",
		Args: exactly(2), ValidArgsFunction: completeNetworkThenContainer(c),
	}
	cmd.Flags().BoolVarP(&opt.Force, "force", "f", false, "Force the container to disconnect from a network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return networkDisconnector(eng).NetworkDisconnect(cmd.Context(), args[0], args[1], opt)
	}
	return cmd
}
