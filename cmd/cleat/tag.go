package main

import (
	"context"

	"github.com/spf13/cobra"
)

type tagger interface {
	Tag(ctx context.Context, source, target string) error
}

func newTag(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Annotations: also("image tag", "tag"),
		Args:        exactly(2), ValidArgsFunction: completeImages(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return tagger(eng).Tag(cmd.Context(), args[0], args[1])
		},
	}
}
