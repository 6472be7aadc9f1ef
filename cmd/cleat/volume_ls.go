package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type volumeLister interface {
	Volumes(ctx context.Context, f engine.VolumeFilter) ([]engine.Volume, error)
}

func newVolumeLs(c *cli) *cobra.Command {
	var layout string
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Short: "List volumes",
		Annotations: also("volume ls", "volume list"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	filter := defineFilter(fs, "f", `Provide filter values (e.g. "dangling=true")`)
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	completeFlags(cmd, map[string]completer{"filter": filterKey("dangling", "driver", "label", "name")})
	refuse(fs, []refusedFlag{{name: "cluster", reason: clusterOnly, isBool: true, harmless: "false"}})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := volumeFilter(filter)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.volumes(cmd.Context(), eng, f, layout, quiet)
	}
	return cmd
}

func volumeFilter(l listFilter) (engine.VolumeFilter, error) {
	if err := l.check("dangling", "driver", "label", "name"); err != nil {
		return engine.VolumeFilter{}, err
	}
	dangling, err := l.truth("dangling")
	return engine.VolumeFilter{Names: l["name"], Drivers: l["driver"], Labels: l["label"], Dangling: dangling}, err
}

func (c *cli) volumes(ctx context.Context, eng volumeLister, f engine.VolumeFilter, layout string, quiet bool) error {
	all, err := eng.Volumes(ctx, f)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b engine.Volume) int { return natural(a.Name, b.Name) })
	rows := make([]volumeRow, 0, len(all))
	for _, v := range all {
		rows = append(rows, newVolumeRow(v))
	}
	return volumeList.Print(c.out, layout, quiet, rows)
}

// volumeRow is a volume as "volume ls" shows it. The names are those of Docker's
// templates and JSON.
type volumeRow struct {
	Availability, Driver, Group, Labels, Links string
	Mountpoint, Name, Scope, Size, Status      string

	labels map[string]string
}

// Label returns the value of one label, for templates.
func (r volumeRow) Label(name string) string { return r.labels[name] }

// notKnown stands for what a list does not find out, as in Docker.
const notKnown = "N/A"

func newVolumeRow(v engine.Volume) volumeRow {
	return volumeRow{
		Availability: notKnown, Driver: "local", Group: notKnown, Labels: labelText(v.Labels), Links: notKnown,
		Mountpoint: v.Mountpoint, Name: v.Name, Scope: "local", Size: notKnown, Status: notKnown, labels: v.Labels,
	}
}

// volumeHeaders are the headings of a table whose columns a template picks.
type volumeHeaders struct{ volumeRow }

// Label is the heading of a column of labels.
func (volumeHeaders) Label(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

var volumeList = format.List[volumeRow]{
	Columns: []format.Column[volumeRow]{
		{Header: "DRIVER", Cell: func(r volumeRow) string { return r.Driver }},
		{Header: "VOLUME NAME", Cell: func(r volumeRow) string { return r.Name }},
	},
	Quiet: func(r volumeRow) string { return r.Name },
	Headers: volumeHeaders{volumeRow{
		Availability: "AVAILABILITY", Driver: "DRIVER", Group: "GROUP", Labels: "LABELS", Links: "LINKS", Mountpoint: "MOUNTPOINT",
		Name: "VOLUME NAME", Scope: "SCOPE", Size: "SIZE", Status: "STATUS",
	}},
}
