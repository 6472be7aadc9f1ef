package main

import (
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
)

// contextRow is a context as "context ls" shows it. The names are those of Docker's
// templates and JSON.
type contextRow struct {
	Current                           bool
	Description, DockerEndpoint, Name string
	Error                             string
}

// contextHead are the headings of templates.
type contextHead struct{ Current, Description, DockerEndpoint, Name, Error string }

var contextList = format.List[contextRow]{
	Columns: []format.Column[contextRow]{
		{Header: "NAME", Cell: contextRow.marked},
		{Header: "DESCRIPTION", Cell: func(r contextRow) string { return r.Description }},
		{Header: "DOCKER ENDPOINT", Cell: func(r contextRow) string { return r.DockerEndpoint }},
		{Header: "ERROR", Cell: func(r contextRow) string { return r.Error }},
	},
	Quiet:   func(r contextRow) string { return r.Name },
	Headers: contextHead{"CURRENT", "DESCRIPTION", "DOCKER ENDPOINT", "NAME", "ERROR"},
}

func (r contextRow) marked() string {
	if r.Current {
		return r.Name + " *"
	}
	return r.Name
}

func newContextLs(c *cli) *cobra.Command {
	var layout string
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Short: "List contexts",
		Annotations: contextPlace(), Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	annotate(cmd, aliasesKey, "cleat context ls, cleat context list")
	cmd.Flags().StringVar(&layout, "format", "", formatUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only show context names")
	cmd.RunE = func(*cobra.Command, []string) error {
		list, _, err := c.contexts().List()
		if err != nil {
			return err
		}
		current, err := c.shownContext()
		if err != nil {
			return err
		}
		rows := make([]contextRow, 0, len(list))
		for _, x := range list {
			rows = append(rows, contextRow{Name: x.Name, Description: x.Description, DockerEndpoint: x.Host, Current: x.Name == current})
		}
		return contextList.Print(c.out, layout, quiet, rows)
	}
	return cmd
}
