package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type checker interface {
	Check(ctx context.Context, repair bool) ([]engine.Finding, error)
}

func newCheck(c *cli) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use: "check [OPTIONS]", Short: "Look for what killed commands or crashes have left behind",
		Long: "Without --repair nothing is changed. The exit code is 1 if something is found\nand not mended.",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "Mend what is found")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.check(cmd.Context(), eng, repair)
	}
	return cmd
}

func (c *cli) check(ctx context.Context, eng checker, repair bool) error {
	findings, err := eng.Check(ctx, repair)
	left := 0
	for _, f := range findings {
		state := "found"
		if f.Repaired {
			state = "repaired"
		} else {
			left++
		}
		fmt.Fprintf(c.out, "%s: %s: %s\n", state, f.Object, f.Problem)
	}
	if err != nil {
		return err
	}
	if left > 0 {
		if !repair {
			fmt.Fprintln(c.err, "hint: mend it with 'cleat system check --repair'")
		}
		return exitCode(exitFailure)
	}
	if len(findings) == 0 {
		fmt.Fprintln(c.out, "no problems found")
	}
	return nil
}
