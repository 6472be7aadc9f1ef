package main

import (
	"context"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

type networkConnector interface {
	NetworkConnect(ctx context.Context, network, container string, r engine.NetworkRequest) error
}

// networkConnectFlags are the flags of network connect.
type networkConnectFlags struct {
	ip, ip6  *opts.One[netip.Addr]
	aliases  []string
	links    *opts.List[string]
	options  *opts.List[string]
	priority int
}

func newNetworkConnect(c *cli) *cobra.Command {
	f := &networkConnectFlags{}
	cmd := &cobra.Command{
		Use: "connect [OPTIONS] NETWORK CONTAINER", Short: "Connect a container to a network",
		Args: exactly(2), ValidArgsFunction: completeNetworkThenContainer(c),
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&f.aliases, "alias", nil, "Add network-scoped alias for the container")
	f.options = opts.NewList("", opts.Pair)
	fs.Var(f.options, "driver-opt", "Driver options for the network")
	fs.IntVar(&f.priority, "gw-priority", 0, "Highest gw-priority provides the default gateway. Accepts positive and negative values")
	f.ip, f.ip6 = opts.NewOne("string", opts.IPv4), opts.NewOne("string", opts.IPv6)
	fs.Var(f.ip, "ip", `IPv4 address (e.g., "172.30.100.104")`)
	fs.Var(f.ip6, "ip6", `IPv6 address (e.g., "2001:db8::33")`)
	f.links = opts.NewList("", opts.Link)
	fs.Var(f.links, "link", "Add link to another container")
	refuse(fs, []refusedFlag{{name: "link-local-ip", reason: opts.NoLinkLocal}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := f.request()
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return networkConnector(eng).NetworkConnect(cmd.Context(), args[0], args[1], r)
	}
	return cmd
}

func (f *networkConnectFlags) request() (engine.NetworkRequest, error) {
	r := engine.NetworkRequest{
		IPv4: f.ip.Value, IPv6: f.ip6.Value, Links: f.links.Values, Priority: f.priority, Options: opts.Map(f.options.Values),
	}
	for _, a := range f.aliases {
		alias, err := opts.Alias(a)
		if err != nil {
			return r, err
		}
		r.Aliases = append(r.Aliases, alias)
	}
	return r, nil
}

// completeNetworkThenContainer completes a network and then a container.
func completeNetworkThenContainer(c *cli) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return completeNetworks(c)(cmd, args, toComplete)
		case 1:
			return completeContainers(c, nil)(cmd, args, toComplete)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}
