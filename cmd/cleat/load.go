package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type loader interface {
	Load(ctx context.Context, r io.Reader, opt engine.LoadOptions) ([]engine.LoadedImage, error)
}

func newLoad(c *cli) *cobra.Command {
	var input, platform string
	var quiet bool
	cmd := &cobra.Command{
		Use: "load [OPTIONS]", Short: "Load an image from a tar archive or STDIN",
		Annotations: also("image load", "load"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	cmd.Flags().StringVar(&platform, "platform", "", `Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress the load output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		src, err := c.openInput(input)
		if err != nil {
			return err
		}
		defer func() { _ = src.Close() }() // it was only read
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.load(cmd.Context(), eng, src, platform, quiet)
	}
	return cmd
}

// openInput opens a file, or the caller's stdin if there is none; a terminal
// has no archive to give.
func (c *cli) openInput(path string) (io.ReadCloser, error) {
	if path != "" {
		return os.Open(path)
	}
	if _, isTerminal := terminalFd(c.in); isTerminal {
		return nil, errors.New("requested load from stdin, but stdin is empty")
	}
	return io.NopCloser(c.in), nil
}

func (c *cli) load(ctx context.Context, eng loader, src io.Reader, platform string, quiet bool) error {
	p := newProgress(c.err, quiet)
	loaded, err := eng.Load(ctx, src, engine.LoadOptions{Platform: platform, Progress: p.event})
	p.close()
	for _, l := range loaded {
		if len(l.Names) == 0 {
			fmt.Fprintf(c.out, "Loaded image ID: %s\n", l.Image.ID)
		}
		for _, ref := range l.Names {
			fmt.Fprintf(c.out, "Loaded image: %s\n", ref.Familiar())
		}
	}
	return err
}
