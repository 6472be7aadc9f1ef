package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type generator interface {
	Generate(ctx context.Context, ref string, opt engine.GenerateOptions) ([]engine.UnitFile, error)
}

const generateLong = `
Prints the systemd units that a container is, as files. With --plain it prints
the unit that runs the container with systemd alone, without cleat.`

func newGenerate(c *cli) *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use: "generate [OPTIONS] CONTAINER", Short: "Print the systemd units of a container", Long: generateLong,
		Args: exactly(1), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
	}
	cmd.Flags().BoolVar(&plain, "plain", false, "Print the unit that runs the container without cleat")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.generate(cmd.Context(), args[0], engine.GenerateOptions{Own: !plain, Plain: plain})
	}
	return cmd
}

const explainLong = `
Prints the systemd units that a container is, and the unit that would run it
without cleat, with the reason for each setting above it.`

func newExplain(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain CONTAINER", Short: "Explain the systemd units of a container", Long: explainLong,
		Args: exactly(1), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.generate(cmd.Context(), args[0], engine.GenerateOptions{Own: true, Plain: true, Explain: true})
	}
	return cmd
}

// generate prints files one below the other, each under its name.
func (c *cli) generate(ctx context.Context, ref string, opt engine.GenerateOptions) error {
	eng, err := c.engine()
	if err != nil {
		return err
	}
	files, err := eng.Generate(ctx, ref, opt)
	if err != nil {
		return err
	}
	for i, f := range files {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fmt.Fprintf(c.out, "# %s\n%s", f.Name, f.Text)
	}
	return nil
}
