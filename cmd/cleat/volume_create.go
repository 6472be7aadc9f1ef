package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

type volumeCreator interface {
	CreateVolume(ctx context.Context, opt engine.CreateVolumeOptions) (string, error)
}

func newVolumeCreate(c *cli) *cobra.Command {
	var opt engine.CreateVolumeOptions
	options, labels := opts.NewList("map", opts.Any), opts.NewList("", opts.Any)
	cmd := &cobra.Command{
		Use: "create [OPTIONS] [VOLUME]", Short: "Create a volume",
		Args: between(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&opt.Driver, "driver", "d", "local", "Specify volume driver name")
	fs.Var(labels, "label", "Set metadata for a volume")
	fs.VarP(options, "opt", "o", "Set driver specific options: type=, device= and o=, as for mount(8)")
	fs.StringVar(&opt.Name, "name", "", "Specify volume name")
	_ = fs.MarkHidden("name") // Docker hides it too; it is defined one line above
	refuse(fs, refusedVolume)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			if opt.Name != "" {
				return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
			}
			opt.Name = args[0]
		}
		opt.Options, opt.Labels = pairs(options.Values), pairs(labels.Values)
		eng, err := c.engine()
		if err != nil {
			return err
		}
		name, err := volumeCreator(eng).CreateVolume(cmd.Context(), opt)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, name)
		return nil
	}
	return cmd
}

// pairs makes a map of KEY=VALUE words; KEY alone has an empty value. It is nil
// without any.
func pairs(words []string) map[string]string {
	var m map[string]string
	for _, w := range words {
		if m == nil {
			m = make(map[string]string, len(words))
		}
		key, value, _ := strings.Cut(w, "=")
		m[key] = value
	}
	return m
}

const clusterOnly = "is for the cluster volumes of Swarm only"

// refusedVolume are the flags of docker volume create for Swarm.
var refusedVolume = []refusedFlag{
	{name: "availability", reason: clusterOnly},
	{name: "group", reason: clusterOnly},
	{name: "limit-bytes", reason: clusterOnly},
	{name: "required-bytes", reason: clusterOnly},
	{name: "scope", reason: clusterOnly},
	{name: "secret", reason: clusterOnly},
	{name: "sharing", reason: clusterOnly},
	{name: "topology-preferred", reason: clusterOnly},
	{name: "topology-required", reason: clusterOnly},
	{name: "type", reason: clusterOnly},
}

// newVolumeUpdate returns a command of Docker's that has nothing to do here.
func newVolumeUpdate(*cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "update [OPTIONS] [VOLUME]", Short: "Update a volume (cluster volumes only)", Hidden: true,
		Annotations: map[string]string{placeKey: placeAnywhere},
		Args:        between(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("volume update " + clusterOnly)
		},
	}
	refuse(cmd.Flags(), []refusedFlag{{name: "availability", reason: clusterOnly}})
	return cmd
}
