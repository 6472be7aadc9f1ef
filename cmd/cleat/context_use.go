package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/internal/contexts"
)

func newContextUse(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "use CONTEXT", Short: "Set the current cleat context",
		Annotations: contextPlace(), Args: exactly(1), ValidArgsFunction: completeFirst(completeContexts(c)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.contexts().Use(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintln(c.out, args[0])
			for _, name := range []string{"CLEAT_HOST", "CLEAT_CONTEXT"} {
				if value, _ := c.lookup(name); value != "" {
					c.warn(fmt.Sprintf("%s is set and overrides the current context", name))
				}
			}
			fmt.Fprintf(c.err, "Current context is now %q\n", args[0])
			return nil
		},
	}
}

func newContextShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Print the name of the current context",
		Annotations: contextPlace(), Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			name, err := c.shownContext()
			if err == nil {
				fmt.Fprintln(c.out, name)
			}
			return err
		},
	}
}

// shownContext is the context in force; a host that is given goes without one.
func (c *cli) shownContext() (string, error) {
	if host, _ := c.lookup("CLEAT_HOST"); c.contextFlag == "" && (c.hostFlag != "" || host != "") {
		return contexts.Default, nil
	}
	return c.currentContext(c.contextFlag)
}
