package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type saver interface {
	Save(ctx context.Context, w io.Writer, names []string, opt engine.SaveOptions) error
}

func newSave(c *cli) *cobra.Command {
	var opt engine.SaveOptions
	var output string
	cmd := &cobra.Command{
		Use: "save [OPTIONS] IMAGE [IMAGE...]", Short: "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Annotations: also("image save", "save"),
		Args:        atLeast(1), ValidArgsFunction: completeImages(c),
	}
	cmd.Flags().StringVar(&opt.Format, "format", "", `Form of the archive: "docker-archive" (default) or "oci-archive"`)
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	cmd.Flags().StringVar(&opt.Platform, "platform", "", `Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.save(cmd.Context(), eng, output, args, opt)
	}
	return cmd
}

func (c *cli) save(ctx context.Context, eng saver, output string, names []string, opt engine.SaveOptions) error {
	return c.withOutput(output, func(w io.Writer) error { return eng.Save(ctx, w, names, opt) })
}
