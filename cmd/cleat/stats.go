package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

type statter interface {
	Stats(ctx context.Context, refs []string, opt engine.StatsOptions) iter.Seq2[[]engine.Stats, error]
}

// statsFlags are the flags of stats.
type statsFlags struct {
	all, noStream, noTrunc bool
	format                 string
}

const statsLong = `
Where the kernel's control groups lack a controller, as in the embedded host,
memory is what the processes have mapped, and block I/O what they have read and
written themselves; "--" is what nobody knows.`

func newStats(c *cli) *cobra.Command {
	f := &statsFlags{}
	cmd := &cobra.Command{
		Use: "stats [OPTIONS] [CONTAINER...]", Short: "Display a live stream of container(s) resource usage statistics", Long: statsLong,
		Annotations: also("container stats", "stats"),
		Args:        atLeast(0), ValidArgsFunction: completeContainers(c, isRunning),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "Show all containers (default shows just running)")
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.BoolVar(&f.noStream, "no-stream", false, "Disable streaming stats and only pull the first result")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Do not truncate output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := statsList.Print(io.Discard, f.format, false, nil); err != nil {
			return err // of the template, before a second has passed
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.stats(cmd.Context(), eng, args, f)
	}
	return cmd
}

func (c *cli) stats(ctx context.Context, eng statter, refs []string, f *statsFlags) error {
	_, live := terminalFd(c.out)
	live = live && !f.noStream
	if live {
		fmt.Fprint(c.out, clearScreen)
	}
	for samples, err := range eng.Stats(ctx, refs, engine.StatsOptions{All: f.all, Once: f.noStream}) {
		if err != nil {
			return err
		}
		rows := make([]statsRow, 0, len(samples))
		for _, s := range samples {
			rows = append(rows, newStatsRow(s, f.noTrunc))
		}
		var page bytes.Buffer
		if err := statsList.Print(&page, f.format, false, rows); err != nil {
			return err
		}
		text := page.String()
		if live {
			text = redraw(text)
		}
		if _, err := io.WriteString(c.out, text); err != nil {
			return err
		}
	}
	return nil
}

// What drives a terminal, see console_codes(4).
const (
	clearScreen = "\x1b[2J\x1b[H"
	goHome      = "\x1b[H"
	clearLine   = "\x1b[K" // from the cursor to its end
	clearRest   = "\x1b[J" // below the cursor
)

// redraw is text to be shown over the one before, without a flicker.
func redraw(text string) string {
	return goHome + strings.ReplaceAll(text, "\n", clearLine+"\n") + clearRest
}

// statsRow is a container as stats shows it. The names are those of Docker's
// templates and JSON.
type statsRow struct {
	BlockIO, CPUPerc, Container, ID string
	MemPerc, MemUsage, Name         string
	NetIO                           string
	PIDs                            string
}

var statsList = format.List[statsRow]{
	Columns: []format.Column[statsRow]{
		{Header: "CONTAINER ID", Cell: func(r statsRow) string { return r.ID }},
		{Header: "NAME", Cell: func(r statsRow) string { return r.Name }},
		{Header: "CPU %", Cell: func(r statsRow) string { return r.CPUPerc }},
		{Header: "MEM USAGE / LIMIT", Cell: func(r statsRow) string { return r.MemUsage }},
		{Header: "MEM %", Cell: func(r statsRow) string { return r.MemPerc }},
		{Header: "NET I/O", Cell: func(r statsRow) string { return r.NetIO }},
		{Header: "BLOCK I/O", Cell: func(r statsRow) string { return r.BlockIO }},
		{Header: "PIDS", Cell: func(r statsRow) string { return r.PIDs }},
	},
	Headers: statsRow{
		BlockIO: "BLOCK I/O", CPUPerc: "CPU %", Container: "CONTAINER", ID: "CONTAINER ID", MemPerc: "MEM %", MemUsage: "MEM USAGE / LIMIT",
		Name: "NAME", NetIO: "NET I/O", PIDs: "PIDS",
	},
}

// unknown is what nobody knows.
const unknown = "--"

func newStatsRow(s engine.Stats, noTrunc bool) statsRow {
	r := statsRow{
		ID: s.ID, Name: s.Name, CPUPerc: percent(s.CPUPercent()),
		MemUsage: "0B / 0B", MemPerc: percent(0), NetIO: "0B / 0B", BlockIO: "0B / 0B", PIDs: "0",
	}
	if !noTrunc {
		r.ID = spec.ShortID(r.ID)
	}
	if r.Container = s.Ref; s.Ref == "" {
		r.Container = r.ID
	}
	if s.Read.IsZero() {
		return r // it does not run
	}
	r.NetIO = sizes(s.NetworkBytes())
	if r.MemUsage, r.MemPerc = unknown+" / "+unknown, unknown; s.Memory != nil {
		r.MemUsage = units.BytesSize(float64(s.Memory.UsedBytes())) + " / " + units.BytesSize(float64(s.Memory.LimitBytes))
		r.MemPerc = percent(s.Memory.Percent())
	}
	if r.BlockIO = unknown; s.BlockIO != nil {
		r.BlockIO = sizes(s.BlockBytes())
	}
	if r.PIDs = unknown; s.Pids != nil {
		r.PIDs = fmt.Sprint(s.Pids.Current)
	}
	return r
}

func percent(p float64) string { return fmt.Sprintf("%.2f%%", p) }

func sizes(in, out uint64) string {
	return units.HumanSizeWithPrecision(float64(in), 3) + " / " + units.HumanSizeWithPrecision(float64(out), 3)
}
