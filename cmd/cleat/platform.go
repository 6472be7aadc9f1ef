package main

import (
	"context"

	"github.com/spf13/cobra"
)

type platformChecker interface {
	NeedPlatform(ctx context.Context, ref, platform string) error
}

// withPlatform gives a verb of images the flag --platform. As with a Docker that
// keeps one platform of each image, the verb fails if that is another one.
func withPlatform(c *cli, cmd *cobra.Command, usage string) {
	var platform string
	cmd.Flags().StringVar(&platform, "platform", "", usage+`. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if platform == "" {
			return run(cmd, args)
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		err = each(cmd, args, func(ctx context.Context, ref string) error {
			return platformChecker(eng).NeedPlatform(ctx, ref, platform)
		})
		if err != nil {
			return err
		}
		return run(cmd, args)
	}
}
