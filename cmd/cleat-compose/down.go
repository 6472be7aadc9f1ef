package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
)

// truth reads a variable that is a switch.
func truth(name string) bool {
	v, _ := strconv.ParseBool(os.Getenv(name)) // what is no boolean is off, as in Docker
	return v
}

func newDown(c *cli) *cobra.Command {
	var opt compose.DownOptions
	var timeout int
	cmd := &cobra.Command{Use: "down [OPTIONS] [SERVICES]", Short: "Stop and remove containers, networks"}
	fs := cmd.Flags()
	fs.BoolVarP(&opt.Volumes, "volumes", "v", false, `Remove named volumes declared in the "volumes" section of the Compose file and anonymous volumes attached to containers`)
	fs.StringVar(&opt.Images, "rmi", "", `Remove images used by services. "local" remove only images that don't have a custom tag ("local"|"all")`)
	fs.BoolVar(&opt.RemoveOrphans, "remove-orphans", truth("COMPOSE_REMOVE_ORPHANS"), "Remove containers for services not defined in the Compose file")
	fs.IntVarP(&timeout, "timeout", "t", 0, "Specify a shutdown timeout in seconds")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch opt.Images {
		case "", "local", "all":
		default:
			return usageError{fmt.Errorf("--rmi %q: must be local or all", opt.Images)}
		}
		if cmd.Flags().Changed("timeout") {
			opt.Stop.Grace = new(time.Duration(timeout) * time.Second)
		}
		opt.Services = args
		return c.down(cmd.Context(), opt)
	}
	return cmd
}

func (c *cli) down(ctx context.Context, opt compose.DownOptions) error {
	name, p, err := c.named(ctx)
	if err != nil {
		return err
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	st, err := compose.ReadState(ctx, eng, name, nil)
	if err != nil {
		return err
	}
	plan := compose.PlanDown(name, p, st, opt)
	if plan.Empty() && len(plan.Warnings) == 0 {
		c.warn("no resource found to remove for project " + strconv.Quote(name))
	}
	return c.execute(ctx, plan)
}
