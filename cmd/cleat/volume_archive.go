package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

type volumeArchiver interface {
	ExportVolume(ctx context.Context, name string, w io.Writer) error
	ImportVolume(ctx context.Context, name string, r io.Reader) error
}

func newVolumeExport(c *cli) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] VOLUME", Short: "Export the files of a volume as a tar archive",
		Args: exactly(1), ValidArgsFunction: completeFirst(completeVolumes(c)),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.withOutput(output, func(w io.Writer) error {
			return volumeArchiver(eng).ExportVolume(cmd.Context(), args[0], w)
		})
	}
	return cmd
}

func newVolumeImport(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "import VOLUME FILE|-", Short: "Unpack a tar archive into a volume",
		Long: "The volume has to exist. What is in it stays, unless the archive has a file of its\nname. The archive may be compressed.",
		Args: exactly(2), ValidArgsFunction: completeFirst(completeVolumes(c)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			src := c.in
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }() // only read
				src = f
			} else if _, isTerminal := terminalFd(src); isTerminal {
				return errors.New("refusing to read an archive from a terminal: give a file, or redirect")
			}
			return volumeArchiver(eng).ImportVolume(cmd.Context(), args[0], src)
		},
	}
}
