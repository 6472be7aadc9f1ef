package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
)

func newGenerate(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "generate units [SERVICE...]", Short: "Print the systemd units of the project's containers, which exist", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch args[0] {
		case "units":
		case "quadlet":
			return fmt.Errorf("compose generate quadlet is not supported by this version: use 'cleat compose generate units'")
		default:
			return usageError{fmt.Errorf("generate %q: must be units", args[0])}
		}
		project, list, err := c.containers(cmd.Context(), args[1:])
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("project %q has no containers: make them with 'cleat compose create'", project)
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		for i, ct := range list {
			text, err := eng.UnitText(cmd.Context(), ct.ID)
			if err != nil {
				return err
			}
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			fmt.Fprint(c.out, text)
		}
		fmt.Fprintf(c.out, "\n# All of them are in %s.\n", compose.SliceName(project))
		return nil
	}
	return cmd
}
