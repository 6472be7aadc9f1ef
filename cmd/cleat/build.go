package main

import (
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/internal/buildflags"
)

// newBuild is the verb whose work another program does: the parser of Dockerfiles
// would make every other verb slower to start.
func newBuild(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "build [OPTIONS] PATH | URL | -", Short: "Build an image from a Dockerfile",
		Annotations: also("image build", "build", "builder build"),
		Args:        exactly(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	buildflags.Define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.become("cleat-build", append(append(buildflags.Args(cmd.Flags()), "--"), args...))
	}
	return cmd
}
