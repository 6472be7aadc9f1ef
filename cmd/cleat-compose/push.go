package main

import (
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
)

func newPush(c *cli) *cobra.Command {
	var ignoreFailures, deps bool
	cmd := &cobra.Command{Use: "push [OPTIONS] [SERVICE...]", Short: "Push service images"}
	fs := cmd.Flags()
	fs.BoolVar(&deps, "include-deps", false, "Also push images of services declared as dependencies")
	fs.BoolVar(&ignoreFailures, "ignore-push-failures", false, "Push what it can and ignores images with push failures")
	fs.BoolP("quiet", "q", false, "Push without printing progress information (there is none)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		whole, err := c.project(cmd.Context())
		if err != nil {
			return err
		}
		p, err := whole.Select(args, compose.SelectOptions{Alone: !deps})
		if err != nil {
			return err
		}
		return c.execute(cmd.Context(), compose.PlanPush(p, ignoreFailures))
	}
	return cmd
}
