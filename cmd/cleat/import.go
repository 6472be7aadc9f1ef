package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type importer interface {
	Fetch(ctx context.Context, address string) (io.ReadCloser, error)
	Import(ctx context.Context, r io.Reader, opt engine.ImportOptions) (engine.Image, error)
}

func newImport(c *cli) *cobra.Command {
	var opt engine.ImportOptions
	cmd := &cobra.Command{
		Use: "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", Short: "Import the contents from a tarball to create a filesystem image",
		Annotations: also("image import", "import"),
		Args:        between(1, 2),
	}
	cmd.Flags().StringArrayVarP(&opt.Changes, "change", "c", nil, "Apply Dockerfile instruction to the created image")
	asList(cmd.Flags().Lookup("change"))
	cmd.Flags().StringVarP(&opt.Message, "message", "m", "", "Set commit message for imported image")
	cmd.Flags().StringVar(&opt.Platform, "platform", "", "Set platform of the files")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if isAddress(args[0]) {
			opt.From = args[0]
		}
		if len(args) == 2 {
			opt.Reference = args[1]
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		src, err := c.openImport(cmd.Context(), eng, args[0])
		if err != nil {
			return err
		}
		defer func() { _ = src.Close() }() // it was only read
		return c.importImage(cmd.Context(), eng, src, opt)
	}
	return cmd
}

// isAddress reports whether the source of an import is to be fetched.
func isAddress(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}

// openImport opens the file or the address of an import; "-" is the caller's
// stdin.
func (c *cli) openImport(ctx context.Context, eng importer, path string) (io.ReadCloser, error) {
	switch {
	case path == "-":
		return io.NopCloser(c.in), nil
	case isAddress(path):
		return eng.Fetch(ctx, path)
	}
	return os.Open(path)
}

func (c *cli) importImage(ctx context.Context, eng importer, src io.Reader, opt engine.ImportOptions) error {
	img, err := eng.Import(ctx, src, opt)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, img.ID)
	return nil
}
