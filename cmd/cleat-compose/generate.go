package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/internal/fsx"
)

func newGenerate(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "generate COMMAND", Short: "Print a project as files for systemd"}
	cmd.AddCommand(newGenerateUnits(c), newGenerateQuadlet(c))
	return cmd
}

func newGenerateUnits(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "units [SERVICE...]", Short: "Print the systemd units of the project's containers, which exist"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		project, list, err := c.containers(cmd.Context(), args)
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

func newGenerateQuadlet(c *cli) *cobra.Command {
	var output string
	cmd := anywhere(&cobra.Command{Use: "quadlet [OPTIONS] [SERVICE...]", Short: "Print the services as files that describe them to systemd, see 'cleat quadlet'"})
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write the files into a directory, instead of printing them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		whole, err := c.project(cmd.Context())
		if err != nil {
			return err
		}
		p, err := whole.Select(args, compose.SelectOptions{})
		if err != nil {
			return err
		}
		files, err := p.Quadlet()
		if err != nil {
			return err
		}
		if output != "" {
			return c.writeDescribed(output, files)
		}
		for i, f := range files {
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			fmt.Fprintf(c.out, "# %s\n%s", f.Name, f.Text)
		}
		return nil
	}
	return cmd
}

// writeDescribed writes files into a directory, which may not be there yet.
func (c *cli) writeDescribed(dir string, files []compose.Described) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := fsx.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(c.out, path)
	}
	return nil
}
