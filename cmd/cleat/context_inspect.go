package main

import (
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
)

// contextInspect is a context in Docker's form.
type contextInspect struct {
	Name     string
	Metadata struct {
		Description string `json:",omitempty"`
	}
	Endpoints struct {
		Docker struct {
			Host          string
			SkipTLSVerify bool
		} `json:"docker"`
	}
}

func newContextInspect(c *cli) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] [CONTEXT] [CONTEXT...]", Short: "Display detailed information on one or more contexts",
		Annotations: contextPlace(), Args: atLeast(0), ValidArgsFunction: completeContexts(c),
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectFormatUsage)
	cmd.RunE = func(_ *cobra.Command, names []string) error {
		if len(names) == 0 {
			name, err := c.shownContext()
			if err != nil {
				return err
			}
			names = []string{name}
		}
		var objects []any
		for _, name := range names {
			x, err := c.contexts().Get(name)
			if err != nil {
				return err
			}
			o := contextInspect{Name: x.Name}
			o.Metadata.Description, o.Endpoints.Docker.Host = x.Description, x.Host
			objects = append(objects, o)
		}
		return format.Objects(c.out, layout, objects)
	}
	return cmd
}
