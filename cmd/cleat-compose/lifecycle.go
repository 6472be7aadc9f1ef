package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
)

// planned returns a verb that runs the plan of some services' containers.
func planned(c *cli, use, short string, plan func(project string, list []engine.Container) *compose.Plan) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		project, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		return c.execute(cmd.Context(), plan(project, list))
	}}
}

func newStart(c *cli) *cobra.Command {
	var wait bool
	var seconds int
	cmd := planned(c, "start [OPTIONS] [SERVICE...]", "Start services", func(project string, list []engine.Container) *compose.Plan {
		plan := compose.PlanStart(project, list)
		if wait {
			plan.AwaitUp(list)
		}
		return plan
	})
	cmd.Flags().BoolVar(&wait, "wait", false, "Wait for services to be running|healthy")
	cmd.Flags().IntVar(&seconds, "wait-timeout", 0, "Maximum duration in seconds to wait for the project to be running|healthy")
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := within(cmd.Context(), seconds)
		defer cancel()
		cmd.SetContext(ctx)
		return inner(cmd, args)
	}
	return cmd
}

// within bounds the wait for a project, unless seconds is 0.
func within(ctx context.Context, seconds int) (context.Context, context.CancelFunc) {
	if seconds == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second, fmt.Errorf("the project is not up after %d seconds", seconds))
}

func newStop(c *cli) *cobra.Command {
	var stop stopFlag
	cmd := planned(c, "stop [OPTIONS] [SERVICE...]", "Stop services", func(project string, list []engine.Container) *compose.Plan {
		return compose.PlanStop(project, list, stop.options())
	})
	stop.define(cmd)
	return cmd
}

func newRestart(c *cli) *cobra.Command {
	var stop stopFlag
	var noDeps bool
	cmd := &cobra.Command{Use: "restart [OPTIONS] [SERVICE...]", Short: "Restart service containers"}
	stop.define(cmd)
	cmd.Flags().BoolVar(&noDeps, "no-deps", false, "Don't restart dependent services")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		project, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		if !noDeps {
			_, all, err := c.containers(cmd.Context(), nil)
			if err != nil {
				return err
			}
			list = compose.AlongWith(list, all)
		}
		return c.execute(cmd.Context(), compose.PlanRestart(project, list, stop.options()))
	}
	return cmd
}

// stopFlag is --timeout.
type stopFlag struct {
	cmd     *cobra.Command
	seconds int
}

func (f *stopFlag) define(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.Flags().IntVarP(&f.seconds, "timeout", "t", 0, "Specify a shutdown timeout in seconds")
}

func (f *stopFlag) options() (opt engine.StopOptions) {
	if f.cmd.Flags().Changed("timeout") {
		opt.Grace = new(time.Duration(f.seconds) * time.Second)
	}
	return opt
}

func newKill(c *cli) *cobra.Command {
	var signal string
	cmd := planned(c, "kill [OPTIONS] [SERVICE...]", "Force stop service containers", func(project string, list []engine.Container) *compose.Plan {
		return compose.PlanEach(project, compose.OpKill, list, compose.Step{Signal: signal})
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "SIGKILL", "SIGNAL to send to the container")
	refuseBool(cmd.Flags(), "remove-orphans", "is not supported: 'cleat compose up --remove-orphans' does it")
	return cmd
}

func newPause(c *cli) *cobra.Command {
	return planned(c, "pause [SERVICE...]", "Pause services", func(project string, list []engine.Container) *compose.Plan {
		return compose.PlanEach(project, compose.OpPause, list, compose.Step{})
	})
}

func newUnpause(c *cli) *cobra.Command {
	return planned(c, "unpause [SERVICE...]", "Unpause services", func(project string, list []engine.Container) *compose.Plan {
		return compose.PlanEach(project, compose.OpUnpause, list, compose.Step{})
	})
}

func newRm(c *cli) *cobra.Command {
	var force, stop, volumes bool
	cmd := &cobra.Command{Use: "rm [OPTIONS] [SERVICE...]", Short: "Removes stopped service containers"}
	fs := cmd.Flags()
	fs.BoolVarP(&force, "force", "f", false, "Don't ask to confirm removal")
	fs.BoolVarP(&stop, "stop", "s", false, "Stop the containers, if required, before removing")
	fs.BoolVarP(&volumes, "volumes", "v", false, "Remove any anonymous volumes attached to containers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		project, list, err := c.containers(ctx, args)
		if err != nil {
			return err
		}
		if stop {
			if err := c.execute(ctx, compose.PlanStop(project, list, engine.StopOptions{})); err != nil {
				return err
			}
			if c.dryRun {
				return nil
			}
			if project, list, err = c.containers(ctx, args); err != nil {
				return err
			}
		}
		plan := compose.PlanEach(project, compose.OpRemove, list, compose.Step{Remove: engine.RemoveOptions{Volumes: volumes}})
		if plan.Empty() {
			fmt.Fprintln(c.err, "No stopped containers")
			return nil
		}
		if !force && !c.dryRun && !c.confirm(plan) {
			return nil
		}
		return c.execute(ctx, plan)
	}
	return cmd
}

// confirm asks whether to remove containers.
func (c *cli) confirm(plan *compose.Plan) bool {
	fmt.Fprint(c.err, "Going to remove")
	for _, s := range plan.Steps {
		fmt.Fprint(c.err, " "+s.Object)
	}
	fmt.Fprint(c.err, "\nAre you sure? [yN] ")
	var answer string
	_, _ = fmt.Fscanln(c.in, &answer) // no answer is no
	return answer == "y" || answer == "Y" || answer == "yes"
}

func newWait(c *cli) *cobra.Command {
	var downProject bool
	cmd := &cobra.Command{Use: "wait SERVICE [SERVICE...] [OPTIONS]", Short: "Block until containers of all (or specified) services stop.", Args: cobra.MinimumNArgs(1)}
	cmd.Flags().BoolVar(&downProject, "down-project", false, "Drops project when the first container stops")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		code, err := c.wait(cmd.Context(), args, downProject)
		if err == nil && downProject {
			err = c.down(cmd.Context(), compose.DownOptions{})
		}
		if err == nil && code != 0 {
			return exitCode(code)
		}
		return err
	}
	return cmd
}

// wait prints the exit codes of services as they end, and returns the first one.
func (c *cli) wait(ctx context.Context, services []string, first bool) (int, error) {
	_, list, err := c.containers(ctx, services)
	if err != nil {
		return 0, err
	}
	eng, err := c.engine()
	if err != nil {
		return 0, err
	}
	if first {
		return firstExit(ctx, eng, list, ""), ctx.Err()
	}
	code := 0
	for _, ct := range list {
		n, err := eng.Wait(ctx, ct.ID, engine.WaitNotRunning)
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(c.out, n)
		if code == 0 {
			code = n
		}
	}
	return code, nil
}
