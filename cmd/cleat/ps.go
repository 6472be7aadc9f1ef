package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
	"github.com/cleat-project/cleat/spec"
)

type lister interface {
	List(ctx context.Context) ([]engine.Container, error)
}

type sizer interface {
	Sizes(ctx context.Context, list []engine.Container) ([]engine.ContainerSize, error)
}

// psFlags are the flags of ps.
type psFlags struct {
	all, quiet, latest, noTrunc, size bool
	last                              int
	format                            string
	filter                            listFilter
}

func newPs(c *cli) *cobra.Command {
	f := &psFlags{}
	cmd := &cobra.Command{
		Use: "ps [OPTIONS]", Short: "List containers",
		Annotations: also("container ls", "container list", "container ps", "ps"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "Show all containers (default shows just running)")
	f.filter = defineFilter(fs, "f", "Filter output based on conditions provided")
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.IntVarP(&f.last, "last", "n", -1, "Show n last created containers (includes all states)")
	fs.BoolVarP(&f.latest, "latest", "l", false, "Show the latest created container (includes all states)")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only display container IDs")
	completeFlags(cmd, map[string]completer{"filter": filterKey(listing.ContainerKeys...)})
	fs.BoolVarP(&f.size, "size", "s", false, "Display total file sizes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := listing.NewContainerFilter(listing.Filters(f.filter))
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.ps(cmd.Context(), eng, f, filter)
	}
	return cmd
}

const formatUsage = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`

func (c *cli) ps(ctx context.Context, eng psEngine, f *psFlags, filter listing.ContainerFilter) error {
	all, err := eng.List(ctx)
	if err != nil {
		return err
	}
	limit := f.last
	if f.latest {
		limit = 1
	}
	shown, err := filter.Apply(all, f.all || limit > 0)
	if err != nil {
		return err
	}
	if limit > 0 && len(shown) > limit {
		shown = shown[:limit]
	}
	now := time.Now()
	rows := make([]psRow, 0, len(shown))
	for _, ct := range shown {
		rows = append(rows, newPsRow(ct, now, f.noTrunc))
	}
	list := psList
	if f.size {
		list.Columns = append(slices.Clip(list.Columns), format.Column[psRow]{Header: "SIZE", Cell: func(r psRow) string { return r.Size }})
	}
	if f.size || strings.Contains(f.format, ".Size") || strings.Contains(f.format, "json .}") { // reads all that they have written
		sizes, err := eng.Sizes(ctx, shown)
		if err != nil {
			return err
		}
		for i, s := range sizes {
			rows[i].Size = fmt.Sprintf("%s (virtual %s)", format.Size(s.WritableBytes), format.Size(s.TotalBytes))
		}
	}
	return list.Print(c.out, f.format, f.quiet, rows)
}

// psEngine is what ps needs.
type psEngine interface {
	lister
	sizer
}

// psRow is a container as ps shows it. The names are those of Docker's
// templates and JSON.
type psRow struct {
	Command, CreatedAt, ID, Image string
	Labels, LocalVolumes, Mounts  string
	Names, Networks, Platform     string
	Ports, RunningFor, Size       string
	State, Status                 string

	labels map[string]string
}

// Label returns the value of one label, for templates.
func (r psRow) Label(name string) string { return r.labels[name] }

// psHeaders are the headings of a table whose columns a template picks.
type psHeaders struct{ psRow }

// Label is the heading of a column of labels.
func (psHeaders) Label(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

var psList = format.List[psRow]{
	Columns: []format.Column[psRow]{
		{Header: "CONTAINER ID", Cell: func(r psRow) string { return r.ID }},
		{Header: "IMAGE", Cell: func(r psRow) string { return r.Image }},
		{Header: "COMMAND", Cell: func(r psRow) string { return r.Command }},
		{Header: "CREATED", Cell: func(r psRow) string { return r.RunningFor }},
		{Header: "STATUS", Cell: func(r psRow) string { return r.Status }},
		{Header: "PORTS", Cell: func(r psRow) string { return r.Ports }},
		{Header: "NAMES", Cell: func(r psRow) string { return r.Names }},
	},
	Quiet: func(r psRow) string { return r.ID },
	Headers: psHeaders{psRow{
		Command: "COMMAND", CreatedAt: "CREATED AT", ID: "CONTAINER ID", Image: "IMAGE", Labels: "LABELS", LocalVolumes: "LOCAL VOLUMES",
		Mounts: "MOUNTS", Names: "NAMES", Networks: "NETWORKS", Platform: "PLATFORM", Ports: "PORTS", RunningFor: "CREATED", Size: "SIZE",
		State: "STATE", Status: "STATUS",
	}},
}

func newPsRow(ct engine.Container, now time.Time, noTrunc bool) psRow {
	r := psRow{
		ID: ct.ID, Image: ct.Image.Reference, Command: listing.CommandText(ct.Process.Argv()), CreatedAt: ct.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		RunningFor: format.Ago(now, ct.Created), State: string(ct.Status), Status: listing.StatusText(ct, now), Size: "0B", Names: ct.Name,
		Networks: listing.NetworkText(ct.Network), Ports: portText(ct.Ports), Labels: labelText(ct.Labels), labels: ct.Labels,
	}
	var mounts []string
	volumes := 0
	for _, m := range ct.Mounts {
		if m.Type == spec.MountTmpfs {
			continue
		}
		name := m.Source
		if m.Type == spec.MountVolume {
			volumes++
		}
		if !noTrunc {
			name = format.Ellipsis(name, 15)
		}
		mounts = append(mounts, name)
	}
	r.Mounts, r.LocalVolumes = strings.Join(mounts, ","), strconv.Itoa(volumes)
	if !noTrunc {
		r.ID, r.Image, r.Command = spec.ShortID(r.ID), listing.ShortImage(ct.Image), format.Ellipsis(r.Command, 20)
	}
	r.Command = strconv.Quote(r.Command)
	return r
}

func labelText(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, ",")
}
