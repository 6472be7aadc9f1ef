package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type historian interface {
	imageFinder
	History(ctx context.Context, ref string) ([]engine.ImageLayer, error)
}

// historyFlags are the flags of history.
type historyFlags struct {
	human, noTrunc, quiet bool
	format                string
}

func newHistory(c *cli) *cobra.Command {
	f := &historyFlags{}
	cmd := &cobra.Command{
		Use: "history [OPTIONS] IMAGE", Short: "Show the history of an image",
		Annotations: also("image history", "history"),
		Args:        exactly(1), ValidArgsFunction: completeImages(c),
	}
	fs := cmd.Flags()
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.BoolVarP(&f.human, "human", "H", true, "Print sizes and dates in human readable format")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only show image IDs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.history(cmd.Context(), eng, args[0], f)
	}
	withPlatform(c, cmd, "Show history for the given platform")
	return cmd
}

func (c *cli) history(ctx context.Context, eng historian, ref string, f *historyFlags) error {
	img, err := eng.Image(ctx, ref)
	if err != nil {
		return err
	}
	steps, err := eng.History(ctx, ref)
	if err != nil {
		return err
	}
	now := time.Now()
	rows := make([]historyRow, 0, len(steps))
	for i, step := range steps {
		r := newHistoryRow(step, now, f)
		if i == 0 { // the last step made the image; the ids of those before are not known
			r.ID = img.ID.Short()
			if f.noTrunc {
				r.ID = string(img.ID)
			}
		}
		rows = append(rows, r)
	}
	return historyList.Print(c.out, f.format, f.quiet, rows)
}

// historyRow is one step, as history shows it.
type historyRow struct {
	Comment, CreatedAt, CreatedBy, CreatedSince, ID, Size string
}

var historyList = format.List[historyRow]{
	Columns: []format.Column[historyRow]{
		{Header: "IMAGE", Cell: func(r historyRow) string { return r.ID }},
		{Header: "CREATED", Cell: func(r historyRow) string { return r.CreatedSince }},
		{Header: "CREATED BY", Cell: func(r historyRow) string { return r.CreatedBy }},
		{Header: "SIZE", Cell: func(r historyRow) string { return r.Size }},
		{Header: "COMMENT", Cell: func(r historyRow) string { return r.Comment }},
	},
	Quiet: func(r historyRow) string { return r.ID },
	Headers: historyRow{
		Comment: "COMMENT", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", CreatedSince: "CREATED", ID: "IMAGE", Size: "SIZE",
	},
}

func newHistoryRow(step engine.ImageLayer, now time.Time, f *historyFlags) historyRow {
	r := historyRow{ID: "<missing>", Comment: step.Comment, CreatedBy: strings.ReplaceAll(step.CreatedBy, "\t", " ")}
	if !step.Created.IsZero() {
		r.CreatedAt = step.Created.Local().Format(time.RFC3339)
	}
	r.CreatedSince, r.Size = format.Ago(now, step.Created), format.Size(step.SizeBytes)
	if !f.human {
		r.CreatedSince, r.Size = r.CreatedAt, strconv.FormatInt(step.SizeBytes, 10)
	}
	if !f.noTrunc {
		r.CreatedBy = format.Ellipsis(r.CreatedBy, 45)
	}
	return r
}
