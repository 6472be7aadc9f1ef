package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type searcher interface {
	Search(ctx context.Context, term string, opt engine.SearchOptions) ([]engine.SearchResult, error)
}

// searchFlags are the flags of search.
type searchFlags struct {
	format  string
	limit   int
	noTrunc bool
}

func newSearch(c *cli) *cobra.Command {
	f := &searchFlags{}
	cmd := &cobra.Command{
		Use: "search [OPTIONS] TERM", Short: "Search Docker Hub for images",
		Args: exactly(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	filter := defineFilter(fs, "f", "Filter output based on conditions provided")
	fs.StringVar(&f.format, "format", "", "Pretty-print search using a Go template")
	fs.IntVar(&f.limit, "limit", 0, "Max number of search results")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		match, err := searchFilter(filter)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.search(cmd.Context(), eng, args[0], f, match)
	}
	return cmd
}

func (c *cli) search(ctx context.Context, eng searcher, term string, f *searchFlags, match func(engine.SearchResult) bool) error {
	results, err := eng.Search(ctx, term, engine.SearchOptions{Limit: f.limit})
	if err != nil {
		return err
	}
	slices.SortStableFunc(results, func(a, b engine.SearchResult) int { return b.StarCount - a.StarCount })
	rows := make([]searchRow, 0, len(results))
	for _, r := range results {
		if !match(r) {
			continue
		}
		row := searchRow{
			Name: r.Name, Description: r.Description, StarCount: strconv.Itoa(r.StarCount),
			IsOfficial: okay(r.IsOfficial), IsAutomated: okay(r.IsAutomated),
		}
		if !f.noTrunc {
			row.Description = format.Ellipsis(row.Description, 45)
		}
		rows = append(rows, row)
	}
	return searchList.Print(c.out, f.format, false, rows)
}

// searchRow is one result, as search shows it.
type searchRow struct {
	Description, IsAutomated, IsOfficial, Name, StarCount string
}

const okayMark = "[OK]"

func okay(yes bool) string {
	if yes {
		return okayMark
	}
	return ""
}

// MarshalJSON writes true and false where the table has marks, as Docker does.
func (r searchRow) MarshalJSON() ([]byte, error) {
	type plain searchRow
	r.IsAutomated = strconv.FormatBool(r.IsAutomated == okayMark)
	r.IsOfficial = strconv.FormatBool(r.IsOfficial == okayMark)
	return json.Marshal(plain(r))
}

var searchList = format.List[searchRow]{
	Columns: []format.Column[searchRow]{
		{Header: "NAME", Cell: func(r searchRow) string { return r.Name }},
		{Header: "DESCRIPTION", Cell: func(r searchRow) string { return r.Description }},
		{Header: "STARS", Cell: func(r searchRow) string { return r.StarCount }},
		{Header: "OFFICIAL", Cell: func(r searchRow) string { return r.IsOfficial }},
	},
	Quiet:   func(r searchRow) string { return r.Name },
	Headers: searchRow{Name: "NAME", Description: "DESCRIPTION", StarCount: "STARS", IsOfficial: "OFFICIAL", IsAutomated: "AUTOMATED"},
}

// searchFilter returns the test that --filter asks for.
func searchFilter(filter listFilter) (func(engine.SearchResult) bool, error) {
	if err := filter.check("is-automated", "is-official", "stars"); err != nil {
		return nil, err
	}
	official, err := filter.truth("is-official")
	if err != nil {
		return nil, err
	}
	automated, err := filter.truth("is-automated")
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, v := range filter["stars"] {
		if stars, err = strconv.Atoi(v); err != nil {
			return nil, fmt.Errorf("invalid filter 'stars=%s': it wants a number", v)
		}
	}
	return func(r engine.SearchResult) bool {
		return r.StarCount >= stars && (official == nil || r.IsOfficial == *official) && (automated == nil || r.IsAutomated == *automated)
	}, nil
}
