package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
)

func newPull(c *cli) *cobra.Command {
	var opt compose.SelectOptions
	var ignoreFailures, includeDeps bool
	policy := "always"
	cmd := &cobra.Command{Use: "pull [OPTIONS] [SERVICE...]", Short: "Pull service images"}
	fs := cmd.Flags()
	fs.BoolVar(&includeDeps, "include-deps", false, "Also pull services declared as dependencies")
	fs.BoolVar(&ignoreFailures, "ignore-pull-failures", false, "Pull what it can and ignores images with pull failures")
	fs.StringVar(&policy, "policy", "always", `Apply pull policy ("missing"|"always")`)
	fs.BoolP("quiet", "q", false, "Pull without printing progress information (there is none)")
	refuseBool(fs, "ignore-buildable", "is not needed: images of services with build are not pulled")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if policy != "always" && policy != "missing" {
			return usageError{errors.New("--policy: must be missing or always")}
		}
		opt.Alone = !includeDeps
		return c.pull(cmd.Context(), args, opt, policy, ignoreFailures)
	}
	return cmd
}

func (c *cli) pull(ctx context.Context, services []string, opt compose.SelectOptions, policy string, ignoreFailures bool) error {
	whole, err := c.project(ctx)
	if err != nil {
		return err
	}
	p, err := whole.Select(services, opt)
	if err != nil {
		return err
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	st, err := compose.ReadState(ctx, eng, p.Name(), p)
	if err != nil {
		return err
	}
	plan, err := compose.PlanPull(p, st, compose.UpOptions{Pull: policy})
	if err != nil {
		return err
	}
	for i := range plan.Steps {
		plan.Steps[i].Soft = ignoreFailures
	}
	return c.execute(ctx, plan)
}
