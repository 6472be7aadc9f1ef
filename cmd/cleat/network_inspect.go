package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type networkInspector interface {
	NetworkInspect(ctx context.Context, ref string) (*engine.NetworkInspect, error)
}

func newNetworkInspect(c *cli) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NETWORK [NETWORK...]", Short: "Display detailed information on one or more networks",
		Args: atLeast(1), ValidArgsFunction: completeNetworks(c),
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", "Format output using a custom template: 'json', or a Go template")
	refuse(cmd.Flags(), []refusedFlag{{name: "verbose", short: "v", reason: swarmOnly, isBool: true, harmless: "false"}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.inspectNetworks(cmd, eng, layout, args)
	}
	return cmd
}

func (c *cli) inspectNetworks(cmd *cobra.Command, eng networkInspector, layout string, args []string) error {
	var found []any
	missing := each(cmd, args, func(ctx context.Context, ref string) error {
		n, err := eng.NetworkInspect(ctx, ref)
		if err == nil {
			found = append(found, n)
		}
		return err
	})
	if len(found) > 0 || layout == "" {
		if err := format.Objects(c.out, layout, found); err != nil {
			return err
		}
	}
	return missing
}

// completeNetworks completes the names of networks.
func completeNetworks(c *cli) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		eng, err := c.engine()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return networkNames(cmd, eng)
	}
}

func networkNames(cmd *cobra.Command, eng networkLister) ([]string, cobra.ShellCompDirective) {
	all, err := eng.Networks(cmd.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
