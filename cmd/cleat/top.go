package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type topper interface {
	Top(ctx context.Context, ref string, psArgs []string) (engine.ProcessTable, error)
}

func newTop(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "top CONTAINER [ps OPTIONS]", Short: "Display the running processes of a container",
		Annotations: also("container top", "top"),
		Args:        atLeast(1), ValidArgsFunction: completeFirst(completeContainers(c, isRunning)),
	}
	cmd.Flags().SetInterspersed(false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.top(cmd.Context(), eng, args[0], args[1:])
	}
	return cmd
}

func (c *cli) top(ctx context.Context, eng topper, ref string, psArgs []string) error {
	table, err := eng.Top(ctx, ref, psArgs)
	if err != nil {
		return err
	}
	lines := append([][]string{table.Titles}, table.Processes...)
	_, err = io.WriteString(c.out, psColumns(lines))
	return err
}

// psColumns lays out lines in Docker's columns, which are 20 characters wide or
// more.
func psColumns(lines [][]string) string {
	const least, gap = 20, 3
	var widths []int
	for _, line := range lines {
		for i := range line {
			if i == len(widths) {
				widths = append(widths, least)
			}
			if i < len(line)-1 {
				widths[i] = max(widths[i], len([]rune(line[i]))+gap)
			}
		}
	}
	var out strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			out.WriteString(cell)
			if i < len(line)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-len([]rune(cell))))
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}
