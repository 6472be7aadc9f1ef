package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

type exporter interface {
	Export(ctx context.Context, ref string, w io.Writer) error
}

func newExport(c *cli) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER", Short: "Export a container's filesystem as a tar archive",
		Annotations: also("container export", "export"),
		Args:        exactly(1), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.export(cmd.Context(), eng, output, args[0])
	}
	return cmd
}

func (c *cli) export(ctx context.Context, eng exporter, output, ref string) error {
	return c.withOutput(output, func(w io.Writer) error { return eng.Export(ctx, ref, w) })
}
