package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
)

// versionInfo is what version tells; its fields are what a template may name.
type versionInfo struct {
	Version   string
	GoVersion string
	Os        string
	Arch      string
}

func newVersion(c *cli) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the version of cleat",
		Annotations: map[string]string{placeKey: placeAnywhere},
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", "Format output using a custom template: 'json', or a Go template")
	cmd.RunE = func(*cobra.Command, []string) error {
		info := versionInfo{version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
		if layout != "" {
			return format.Objects(c.out, layout, []any{info})
		}
		return format.Table(c.out, [][]string{
			{"Version:", info.Version},
			{"Go version:", info.GoVersion},
			{"OS/Arch:", info.Os + "/" + info.Arch},
		})
	}
	return cmd
}
