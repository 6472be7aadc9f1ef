package main

import "github.com/spf13/cobra"

const composeLong = `
Reads compose files as Docker's compose v2 does. A project is a slice of systemd,
cleat-PROJECT.slice, with its containers as units below it; x-cleat-slice in the
file limits all of them together. 'cleat compose --help' lists the verbs.`

// newCompose is the verb whose work another program does: reading compose files
// would make every other verb slower to start. That program reads the flags too.
func newCompose(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "compose [OPTIONS] COMMAND", Short: "Define and run multi-container applications", Long: composeLong,
		Args: cobra.ArbitraryArgs, DisableFlagParsing: true, Annotations: map[string]string{placeKey: placeAnywhere},
		RunE: func(_ *cobra.Command, args []string) error { return c.become("cleat-compose", args) },
	}
}
