package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

type networkCreator interface {
	NetworkCreate(ctx context.Context, opt engine.NetworkCreateOptions) (id string, warnings []string, err error)
}

// swarmOnly is why flags that only Docker's swarm gives a meaning are refused.
const swarmOnly = "is not supported: it is for swarm only, which cleat has not"

// networkCreateFlags are the flags of network create.
type networkCreateFlags struct {
	driver                    string
	subnets, ranges, gateways []string
	aux, options, labels      *opts.List[string]
	ipv4, ipv6                bool
	internal, attachable      bool
}

func newNetworkCreate(c *cli) *cobra.Command {
	f := &networkCreateFlags{}
	cmd := &cobra.Command{
		Use: "create [OPTIONS] NETWORK", Short: "Create a network",
		Args: exactly(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := f.create(args[0])
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.createNetwork(cmd.Context(), eng, opt)
	}
	return cmd
}

func (f *networkCreateFlags) define(fs *pflag.FlagSet) {
	fs.BoolVar(&f.attachable, "attachable", false, "Enable manual container attachment (always possible)")
	f.aux = opts.NewList("map", opts.Pair)
	fs.Var(f.aux, "aux-address", "Auxiliary IPv4 or IPv6 addresses that no container gets")
	fs.StringVarP(&f.driver, "driver", "d", "bridge", "Driver to manage the Network")
	fs.StringSliceVar(&f.gateways, "gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	fs.BoolVar(&f.internal, "internal", false, "Restrict external access to the network")
	fs.StringSliceVar(&f.ranges, "ip-range", nil, "Allocate container ip from a sub-range")
	fs.BoolVar(&f.ipv4, "ipv4", true, "Enable or disable IPv4 address assignment")
	fs.BoolVar(&f.ipv6, "ipv6", false, "Enable or disable IPv6 address assignment")
	f.labels = opts.NewList("", opts.Label)
	fs.Var(f.labels, "label", "Set metadata on a network")
	f.options = opts.NewList("map", opts.Pair)
	fs.VarP(f.options, "opt", "o", "Set driver specific options")
	fs.StringSliceVar(&f.subnets, "subnet", nil, "Subnet in CIDR format that represents a network segment")
	refuse(fs, []refusedFlag{
		{name: "config-from", reason: swarmOnly},
		{name: "config-only", reason: swarmOnly, isBool: true, harmless: "false"},
		{name: "ingress", reason: swarmOnly, isBool: true, harmless: "false"},
		{name: "ipam-driver", reason: `can only be "default": cleat gives out the addresses itself`, harmless: "default"},
		{name: "ipam-opt", reason: "is not supported: there is no IPAM driver that has options"},
		{name: "scope", reason: `can only be "local"`, harmless: "local"},
	})
}

func (f *networkCreateFlags) create(name string) (engine.NetworkCreateOptions, error) {
	subnets, err := joinSubnets(f.subnets, f.ranges, f.gateways, opts.Map(f.aux.Values))
	if err != nil {
		return engine.NetworkCreateOptions{}, err
	}
	return engine.NetworkCreateOptions{
		Name: name, Driver: f.driver, Subnets: subnets, IPv6: f.ipv6, NoIPv4: !f.ipv4,
		Internal: f.internal, Attachable: f.attachable,
		Labels: opts.Map(f.labels.Values), Options: opts.Map(f.options.Values),
	}, nil
}

func (c *cli) createNetwork(ctx context.Context, eng networkCreator, opt engine.NetworkCreateOptions) error {
	id, warnings, err := eng.NetworkCreate(ctx, opt)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		c.warn(w)
	}
	fmt.Fprintln(c.out, id)
	return nil
}
