package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

type remover interface {
	Remove(ctx context.Context, ref string, opt engine.RemoveOptions) error
}

func newRm(c *cli) *cobra.Command {
	var opt engine.RemoveOptions
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Short: "Remove one or more containers",
		Annotations: also("container rm", "container remove", "rm"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, nil),
	}
	cmd.Flags().BoolVarP(&opt.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	cmd.Flags().BoolVarP(&opt.Volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	refuse(cmd.Flags(), []refusedFlag{{name: "link", short: "l", reason: "is not supported: the links of a container are settled when it is created", isBool: true, harmless: "false"}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.remove(cmd, eng, opt, args)
	}
	return cmd
}

func (c *cli) remove(cmd *cobra.Command, eng remover, opt engine.RemoveOptions, args []string) error {
	return each(cmd, args, c.unlessGone(opt.Force, c.echo(func(ctx context.Context, ref string) error { return eng.Remove(ctx, ref, opt) })))
}

// unlessGone wraps a removal by force: there only has to be nothing left. What was
// not there is told of, but it is no failure.
func (c *cli) unlessGone(force bool, remove func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, ref string) error {
		err := remove(ctx, ref)
		if force && errors.Is(err, spec.ErrNotFound) {
			printError(c.err, err)
			return nil
		}
		return err
	}
}
