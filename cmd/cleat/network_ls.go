package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

type networkLister interface {
	Networks(ctx context.Context, filters map[string][]string) ([]engine.NetworkInspect, error)
}

// networkLsFlags are the flags of network ls.
type networkLsFlags struct {
	quiet, noTrunc bool
	format         string
	filter         listFilter
}

func newNetworkLs(c *cli) *cobra.Command {
	f := &networkLsFlags{}
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Short: "List networks",
		Annotations: also("network ls", "network list"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	f.filter = defineFilter(fs, "f", `Provide filter values (e.g. "driver=bridge")`)
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Do not truncate the output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only display network IDs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.networks(cmd.Context(), eng, f)
	}
	return cmd
}

func (c *cli) networks(ctx context.Context, eng networkLister, f *networkLsFlags) error {
	all, err := eng.Networks(ctx, f.filter)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b engine.NetworkInspect) int { return natural(a.Name, b.Name) })
	rows := make([]networkRow, 0, len(all))
	for _, n := range all {
		rows = append(rows, newNetworkRow(n, f.noTrunc))
	}
	return networkList.Print(c.out, f.format, f.quiet, rows)
}

// networkRow is a network as "network ls" shows it. The names are those of
// Docker's templates and JSON.
type networkRow struct {
	CreatedAt, Driver, ID, IPv4, IPv6 string
	Internal, Labels, Name, Scope     string

	labels map[string]string
}

// Label returns the value of one label, for templates.
func (r networkRow) Label(name string) string { return r.labels[name] }

func newNetworkRow(n engine.NetworkInspect, noTrunc bool) networkRow {
	r := networkRow{
		CreatedAt: n.Created.String(), Driver: n.Driver, ID: n.ID, Name: n.Name, Scope: n.Scope,
		IPv4: strconv.FormatBool(n.EnableIPv4), IPv6: strconv.FormatBool(n.EnableIPv6), Internal: strconv.FormatBool(n.Internal),
		Labels: labelText(n.Labels), labels: n.Labels,
	}
	if !noTrunc {
		r.ID = spec.ShortID(r.ID)
	}
	return r
}

// networkHeaders are the headings of a table whose columns a template picks.
type networkHeaders struct{ networkRow }

// Label is the heading of a column of labels.
func (networkHeaders) Label(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

var networkList = format.List[networkRow]{
	Columns: []format.Column[networkRow]{
		{Header: "NETWORK ID", Cell: func(r networkRow) string { return r.ID }},
		{Header: "NAME", Cell: func(r networkRow) string { return r.Name }},
		{Header: "DRIVER", Cell: func(r networkRow) string { return r.Driver }},
		{Header: "SCOPE", Cell: func(r networkRow) string { return r.Scope }},
	},
	Quiet: func(r networkRow) string { return r.ID },
	Headers: networkHeaders{networkRow{
		CreatedAt: "CREATED AT", Driver: "DRIVER", ID: "NETWORK ID", IPv4: "IPV4", IPv6: "IPV6", Internal: "INTERNAL",
		Labels: "LABELS", Name: "NAME", Scope: "SCOPE",
	}},
}
