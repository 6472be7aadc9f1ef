package main

import "github.com/spf13/cobra"

func newInspectNetwork(c *cli) *cobra.Command {
	cmd := newInspectOf(c, "network", new(bool))
	refuse(cmd.Flags(), []refusedFlag{{name: "verbose", short: "v", reason: swarmOnly, isBool: true, harmless: "false"}})
	return cmd
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
