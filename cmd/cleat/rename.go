package main

import (
	"context"

	"github.com/spf13/cobra"
)

type renamer interface {
	Rename(ctx context.Context, ref, name string) error
}

const renameLong = `
A container that runs keeps its systemd unit, which is called after its old
name, until its run ends: systemd cannot rename a unit that runs. Everything
else knows the container by its new name at once, and the old name is free.`

func newRename(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "rename CONTAINER NEW_NAME", Short: "Rename a container", Long: renameLong,
		Annotations: also("container rename", "rename"),
		Args:        exactly(2), ValidArgsFunction: completeFirst(completeContainers(c, nil)),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return renamer(eng).Rename(cmd.Context(), args[0], args[1])
		},
	}
}
