package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

type inspector interface {
	Inspect(ctx context.Context, ref string, opt engine.InspectOptions) (*engine.ContainerInspect, error)
	InspectImage(ctx context.Context, ref string) (*engine.ImageInspect, error)
	NetworkInspect(ctx context.Context, ref string) (*engine.NetworkInspect, error)
	InspectVolume(ctx context.Context, name string) (*engine.VolumeInspect, error)
}

// inspectKind is a kind of object that inspect shows.
type inspectKind struct {
	name, arg string // as --type and as the usage line say it
	many      string
	find      func(ctx context.Context, eng inspector, ref string, size bool) (any, error)
	complete  func(*cli) completer
}

// inspectKinds are searched in this order, which is Docker's. What is meant to
// be inspected has a row here, and its method in inspector.
var inspectKinds = []inspectKind{
	{
		"container", "CONTAINER", "containers",
		func(ctx context.Context, eng inspector, ref string, size bool) (any, error) {
			return eng.Inspect(ctx, ref, engine.InspectOptions{Size: size})
		},
		func(c *cli) completer { return completeContainers(c, nil) },
	},
	{
		"image", "IMAGE", "images",
		func(ctx context.Context, eng inspector, ref string, _ bool) (any, error) {
			return eng.InspectImage(ctx, ref)
		},
		completeImages,
	},
	{
		"network", "NETWORK", "networks",
		func(ctx context.Context, eng inspector, ref string, _ bool) (any, error) {
			return eng.NetworkInspect(ctx, ref)
		},
		completeNetworks,
	},
	{
		"volume", "VOLUME", "volumes",
		func(ctx context.Context, eng inspector, ref string, _ bool) (any, error) {
			return eng.InspectVolume(ctx, ref)
		},
		completeVolumes,
	},
}

func kindCalled(name string) (inspectKind, bool) {
	for _, k := range inspectKinds {
		if k.name == name {
			return k, true
		}
	}
	return inspectKind{}, false
}

const inspectFormatUsage = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`

// newInspect returns the command that shows objects of any kind.
func newInspect(c *cli) *cobra.Command {
	var layout, kind string
	var size bool
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NAME|ID [NAME|ID...]", Short: "Return low-level information on objects",
		Args: atLeast(1), ValidArgsFunction: completeAny(c),
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectFormatUsage)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	cmd.Flags().StringVar(&kind, "type", "", "Only inspect objects of the given type")
	completeFlags(cmd, map[string]completer{"type": oneOf(kindNames()...)})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kinds := inspectKinds
		if cmd.Flags().Changed("type") {
			k, ok := kindCalled(kind)
			if !ok {
				return fmt.Errorf("%q is not a valid value for --type: the types are %s", kind, strings.Join(kindNames(), ", "))
			}
			kinds = []inspectKind{k}
		}
		return c.inspect(cmd, kinds, layout, size, args)
	}
	return cmd
}

func kindNames() (names []string) {
	for _, k := range inspectKinds {
		names = append(names, k.name)
	}
	return names
}

func newInspectContainer(c *cli) *cobra.Command {
	var size bool
	cmd := newInspectOf(c, "container", &size)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes")
	return cmd
}

func newInspectImage(c *cli) *cobra.Command {
	cmd := newInspectOf(c, "image", new(bool))
	withPlatform(c, cmd, "Inspect only if the image is for the given platform")
	return cmd
}

func newInspectVolume(c *cli) *cobra.Command { return newInspectOf(c, "volume", new(bool)) }

// newInspectOf returns the command that shows objects of one kind.
func newInspectOf(c *cli, kind string, size *bool) *cobra.Command {
	var layout string
	k, _ := kindCalled(kind)
	cmd := &cobra.Command{
		Use: fmt.Sprintf("inspect [OPTIONS] %s [%s...]", k.arg, k.arg), Short: "Display detailed information on one or more " + k.many,
		Args: atLeast(1), ValidArgsFunction: k.complete(c),
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectFormatUsage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.inspect(cmd, []inspectKind{k}, layout, *size, args)
	}
	return cmd
}

// inspect prints what it finds, and then what it did not find.
func (c *cli) inspect(cmd *cobra.Command, kinds []inspectKind, layout string, size bool, args []string) error {
	eng, err := c.engine()
	if err != nil {
		return err
	}
	var found []any
	missing := each(cmd, args, func(ctx context.Context, ref string) error {
		o, err := inspectOne(ctx, eng, kinds, ref, size)
		if err == nil {
			found = append(found, o)
		}
		return err
	})
	if len(found) > 0 || layout == "" {
		if err := format.Objects(c.out, layout, found); err != nil {
			return badFormat(err)
		}
	}
	return missing
}

// badFormat gives a template that is none Docker's exit code.
func badFormat(err error) error {
	if _, ok := errors.AsType[*format.SyntaxError](err); ok {
		return codedError{err, exitBadFormat}
	}
	return err
}

// inspectOne returns the first object of one of the kinds that ref names.
func inspectOne(ctx context.Context, eng inspector, kinds []inspectKind, ref string, size bool) (any, error) {
	for _, k := range kinds {
		o, err := k.find(ctx, eng, ref, size)
		if err == nil {
			return o, nil
		}
		if len(kinds) == 1 || !errors.Is(err, spec.ErrNotFound) && !k.cannotBe(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no such object: %s: %w", ref, spec.ErrNotFound)
}

// cannotBe reports whether an error says that no object of the kind can be
// called so: names of images are the strictest, "Data" can be a volume.
func (k inspectKind) cannotBe(err error) bool {
	return k.name == "image" && errors.Is(err, spec.ErrInvalid)
}
