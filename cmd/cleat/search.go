package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type searcher interface {
	Search(ctx context.Context, term string, opt engine.SearchOptions) ([]engine.SearchResult, error)
}

// searchFlags are the flags of search.
type searchFlags struct {
	filters []string
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
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "Filter output based on conditions provided")
	asList(fs.Lookup("filter"))
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.IntVar(&f.limit, "limit", 0, "Max number of search results")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		match, err := searchFilter(f.filters)
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
func searchFilter(pairs []string) (func(engine.SearchResult) bool, error) {
	var tests []func(engine.SearchResult) bool
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("invalid filter '%s': it has the form KEY=VALUE", pair)
		}
		yes, notBool := strconv.ParseBool(value)
		stars, notNumber := strconv.Atoi(value)
		switch {
		case key == "stars" && notNumber == nil:
			tests = append(tests, func(r engine.SearchResult) bool { return r.StarCount >= stars })
		case key == "is-official" && notBool == nil:
			tests = append(tests, func(r engine.SearchResult) bool { return r.IsOfficial == yes })
		case key == "is-automated" && notBool == nil:
			tests = append(tests, func(r engine.SearchResult) bool { return r.IsAutomated == yes })
		case key == "stars":
			return nil, fmt.Errorf("invalid filter 'stars=%s': it wants a number", value)
		case key == "is-official" || key == "is-automated":
			return nil, fmt.Errorf("invalid filter '%s': it is true or false", pair)
		default:
			return nil, fmt.Errorf("invalid filter '%s': the filters are is-automated, is-official, stars", key)
		}
	}
	return func(r engine.SearchResult) bool {
		return !slices.ContainsFunc(tests, func(test func(engine.SearchResult) bool) bool { return !test(r) })
	}, nil
}
