package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/internal/contexts"
)

func newContextUpdate(c *cli) *cobra.Command {
	var description string
	var docker []string
	cmd := &cobra.Command{
		Use: "update [OPTIONS] CONTEXT", Short: "Update a context",
		Annotations: contextPlace(), Args: exactly(1), ValidArgsFunction: completeFirst(completeContexts(c)),
	}
	fs := cmd.Flags()
	fs.StringVar(&description, "description", "", "Description of the context")
	fs.StringArrayVar(&docker, "docker", nil, `Set the machine, as "host=ssh://USER@HOST[:PORT]"`)
	asType(fs.Lookup("docker"), "stringToString")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		host := ""
		if len(docker) > 0 {
			var err error
			if host, err = c.endpoint(docker, ""); err != nil {
				return err
			}
		}
		err := c.contexts().Update(cmd.Context(), args[0], func(x *contexts.Context) {
			if fs.Changed("description") {
				x.Description = description
			}
			if len(docker) > 0 {
				x.Host = host
			}
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, args[0])
		fmt.Fprintf(c.err, "Successfully updated context %q\n", args[0])
		return nil
	}
	return cmd
}
