package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

type updater interface {
	Update(ctx context.Context, ref string, opt engine.UpdateOptions) error
}

// updateFlags are the flags of update.
type updateFlags struct {
	memory, swap, reservation *opts.One[int64]
	cpus                      *opts.One[int64]
	shares, quota, period     int64
	cpuset, memoryNodes       string
	pids                      int64
	ioWeight                  uint16
	restart                   string
}

// refusedUpdate are the flags of docker update that are refused.
var refusedUpdate = []refusedFlag{
	{name: "cpu-rt-period", reason: neverHere},
	{name: "cpu-rt-runtime", reason: neverHere},
	{name: "kernel-memory", reason: neverHere},
}

const updateLong = `
Limits of a running container are in force at once. A restart policy is too if
the container was started with "always" or "unless-stopped"; otherwise it is
from the next start on, though the next boot heeds it.`

func newUpdate(c *cli) *cobra.Command {
	f := &updateFlags{}
	cmd := &cobra.Command{
		Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Short: "Update configuration of one or more containers", Long: updateLong,
		Annotations: also("container update", "update"),
		Args:        atLeast(1), ValidArgsFunction: completeContainers(c, nil),
	}
	f.define(cmd.Flags())
	refuse(cmd.Flags(), refusedUpdate)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := f.options(cmd.Flags())
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.update(cmd, eng, opt, args)
	}
	return cmd
}

func (f *updateFlags) define(fs *pflag.FlagSet) {
	fs.Uint16Var(&f.ioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	fs.Int64Var(&f.period, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	fs.Int64Var(&f.quota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota (-1 for unlimited)")
	fs.Int64VarP(&f.shares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.cpus = opts.NewOne("decimal", opts.CPUs)
	fs.Var(f.cpus, "cpus", "Number of CPUs")
	fs.StringVar(&f.cpuset, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	fs.StringVar(&f.memoryNodes, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.memory = opts.NewOne("bytes", opts.Bytes)
	fs.VarP(f.memory, "memory", "m", "Memory limit")
	f.reservation = opts.NewOne("bytes", opts.Bytes)
	fs.Var(f.reservation, "memory-reservation", "Memory soft limit")
	f.swap = opts.NewOne("bytes", opts.BytesOrUnlimited)
	fs.Var(f.swap, "memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	fs.Int64Var(&f.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	fs.StringVar(&f.restart, "restart", "", "Restart policy to apply when a container exits")
}

func (f *updateFlags) options(fs *pflag.FlagSet) (engine.UpdateOptions, error) {
	opt := engine.UpdateOptions{
		MemoryBytes: f.memory.Value, TotalBytes: f.swap.Value, ReservationBytes: f.reservation.Value,
		CPUShares: f.shares, CPUSet: f.cpuset, MemoryNodes: f.memoryNodes, IOWeight: f.ioWeight,
	}
	if fs.NFlag() == 0 {
		return opt, errors.New("you must provide one or more flags when using this command")
	}
	if fs.Changed("cpus") && (fs.Changed("cpu-quota") || fs.Changed("cpu-period")) {
		return opt, errors.New("conflicting options: --cpus cannot be set with --cpu-quota or --cpu-period")
	}
	quota, err := opts.Quota(f.quota, f.period)
	if err != nil {
		return opt, err
	}
	if opt.CPUMillis = f.cpus.Value + quota; f.quota < 0 {
		opt.CPUMillis = -1
	}
	if fs.Changed("pids-limit") {
		opt.Pids = new(max(f.pids, 0)) // Docker's -1 is our 0: unlimited
	}
	if f.restart != "" {
		policy, err := opts.Restart(f.restart)
		if err != nil {
			return opt, err
		}
		opt.Restart = &policy
	}
	return opt, nil
}

func (c *cli) update(cmd *cobra.Command, eng updater, opt engine.UpdateOptions, args []string) error {
	return each(cmd, args, c.echo(func(ctx context.Context, ref string) error { return eng.Update(ctx, ref, opt) }))
}
