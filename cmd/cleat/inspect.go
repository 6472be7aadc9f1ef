package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

type inspector interface {
	Inspect(ctx context.Context, ref string) (*engine.ContainerInspect, error)
	InspectImage(ctx context.Context, ref string) (*engine.ImageInspect, error)
}

// The kinds of object that inspect shows.
const (
	typeContainer = "container"
	typeImage     = "image"
)

// newInspect returns the command that shows objects of any kind.
func newInspect(c *cli) *cobra.Command {
	cmd := newInspectOf(c, "")
	cmd.Use, cmd.Short = "inspect [OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on containers and images"
	return cmd
}

func newInspectContainer(c *cli) *cobra.Command { return newInspectOf(c, typeContainer) }
func newInspectImage(c *cli) *cobra.Command     { return newInspectOf(c, typeImage) }

// newInspectOf returns the command that shows objects of one kind, of any if
// kind is "": then --type is there as well.
func newInspectOf(c *cli, kind string) *cobra.Command {
	var layout string
	cmd := &cobra.Command{Use: "inspect [OPTIONS] CONTAINER [CONTAINER...]", Short: "Display detailed information on one or more containers", Args: atLeast(1)}
	cmd.ValidArgsFunction = completeContainers(c, nil)
	if kind == typeImage {
		cmd.Use, cmd.Short = "inspect [OPTIONS] IMAGE [IMAGE...]", "Display detailed information on one or more images"
		cmd.ValidArgsFunction = completeImages(c)
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", "Format output using a custom template: 'json', or a Go template")
	refuse(cmd.Flags(), []refusedFlag{{name: "size", short: "s", reason: needsBuild, isBool: true, harmless: "false"}})
	if kind == "" {
		cmd.Flags().StringVar(&kind, "type", "", `Only inspect objects of the given type ("container", "image")`)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if kind != "" && kind != typeContainer && kind != typeImage {
			return fmt.Errorf("%q is not a valid value for --type", kind)
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.inspect(cmd, eng, kind, layout, args)
	}
	return cmd
}

// inspect prints what it finds, and then what it did not find.
func (c *cli) inspect(cmd *cobra.Command, eng inspector, kind, layout string, args []string) error {
	var found []any
	missing := each(cmd, args, func(ctx context.Context, ref string) error {
		o, err := inspectOne(ctx, eng, kind, ref)
		if err == nil {
			found = append(found, o)
		}
		return err
	})
	if len(found) > 0 || layout == "" {
		if err := format.Objects(c.out, layout, found); err != nil {
			return err
		}
	}
	return missing
}

// inspectOne looks for a container and then for an image, unless kind says what
// ref is.
func inspectOne(ctx context.Context, eng inspector, kind, ref string) (any, error) {
	if kind != typeImage {
		o, err := eng.Inspect(ctx, ref)
		if err == nil {
			return o, nil
		}
		if kind == typeContainer || !errors.Is(err, spec.ErrNotFound) {
			return nil, err
		}
	}
	o, err := eng.InspectImage(ctx, ref)
	if err == nil {
		return o, nil
	}
	if kind == "" && errors.Is(err, spec.ErrNotFound) {
		return nil, fmt.Errorf("no such object: %s: %w", ref, spec.ErrNotFound)
	}
	return nil, err
}
