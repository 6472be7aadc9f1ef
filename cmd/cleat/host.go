package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/host"
)

// defaultRoot is that of package state, which front ends do not import.
const defaultRoot = "/var/lib/cleat"

// hostOptions says which embedded host the global options mean.
func (c *cli) hostOptions() host.Options {
	return host.Options{Root: cmp.Or(c.root, defaultRoot), RunRoot: c.runRoot}
}

// enterHost runs this command again inside the embedded host, which it starts if
// need be, where PID 1 is not systemd. Elsewhere it does nothing.
func enterHost(ctx context.Context, c *cli) error {
	if !host.Needed() {
		return nil
	}
	started, err := host.EnsureRunning(ctx, c.hostOptions())
	if err != nil {
		return err
	}
	if started {
		fmt.Fprintf(c.err, "cleat: systemd does not run here; started an embedded host for %s (see 'cleat host --help')\n", c.hostOptions().Root)
	}
	return c.enterNow(ctx)
}

// enterRunningHost is enterHost for a command that must not start a host, nor
// complain.
func enterRunningHost(ctx context.Context, c *cli) error {
	if !host.Needed() {
		return nil
	}
	if st, err := host.State(c.hostOptions().Root); err != nil || !st.Running {
		return nil //nolint:nilerr // Without a host there is nothing to complete.
	}
	return c.enterNow(ctx)
}

func (c *cli) enterNow(ctx context.Context) error {
	c.releaseSignals() // from here on they are the command's inside
	code, err := host.Enter(ctx, c.hostOptions())
	if err != nil {
		return err
	}
	return exitCode(code)
}

const hostLong = `
Where PID 1 is not systemd, cleat brings its own: the distribution's systemd in
namespaces of its own, with the machine's file system and network. Every other
command starts it when it is needed and runs inside of it. It never starts the
machine's services. On a machine that runs systemd it is not used.`

func newHost(c *cli) *cobra.Command {
	cmd := object("host", "Manage the embedded host",
		newHostStart(c), newHostStop(c), newHostStatus(c), newHostShell(c), newHostLogs(c))
	cmd.Long = hostLong
	for _, verb := range cmd.Commands() {
		annotate(verb, placeKey, placeRoot)
	}
	return cmd
}

func newHostStart(c *cli) *cobra.Command {
	var private bool
	cmd := &cobra.Command{Use: "start [OPTIONS]", Short: "Start the embedded host", Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions}
	cmd.Flags().BoolVar(&private, "private-network", false, "Give it a network namespace of its own, with nothing but a loopback device")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := outside(); err != nil {
			return err
		}
		opt := c.hostOptions()
		opt.PrivateNetwork = private
		started, err := host.EnsureRunning(cmd.Context(), opt)
		if err != nil {
			return err
		}
		if !started {
			fmt.Fprintln(c.err, "the embedded host runs already")
		}
		return nil
	}
	return cmd
}

// outside returns an error in a process that is inside an embedded host.
func outside() error {
	if root := host.Inside(); root != "" {
		return fmt.Errorf("this is a process inside the embedded host of %s: leave it first", root)
	}
	return nil
}

func newHostStop(c *cli) *cobra.Command {
	var seconds int
	cmd := &cobra.Command{Use: "stop [OPTIONS]", Short: "Stop the embedded host and everything in it", Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions}
	cmd.Flags().IntVarP(&seconds, "timeout", "t", int(host.DefaultGrace/time.Second), "Seconds to wait before everything is killed, 0 to kill at once")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := outside(); err != nil {
			return err
		}
		grace := time.Duration(seconds) * time.Second
		if seconds <= 0 {
			grace = -1
		}
		ran, err := host.Stop(cmd.Context(), c.hostOptions().Root, host.StopOptions{Grace: grace})
		if err != nil {
			return err
		}
		if !ran {
			fmt.Fprintln(c.err, "the embedded host does not run")
		}
		return nil
	}
	return cmd
}

func newHostStatus(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the embedded host (exit code 3 if it does not run)",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			st, err := host.State(c.hostOptions().Root)
			if err != nil {
				return err
			}
			fmt.Fprint(c.out, hostStatus(st, !host.Needed() && host.Inside() == ""))
			if !st.Running {
				return exitCode(3) // that of systemctl status
			}
			return nil
		},
	}
}

// hostStatus is the text of "host status".
func hostStatus(st host.Status, notNeeded bool) string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%-9s %s\n", name+":", value) }
	switch {
	case st.Running:
		line("State", "running since "+st.Started.Local().Format("2006-01-02 15:04:05"))
	case notNeeded:
		line("State", "not running, and not needed: systemd runs here")
	default:
		line("State", "not running")
	}
	line("Root", st.Root)
	if st.Running {
		network := "the machine's"
		if st.PrivateNetwork {
			network = "its own"
		}
		line("PID", fmt.Sprint(st.PID))
		line("Network", network)
		line("Cgroup", st.Cgroup)
	}
	line("Units", st.UnitDir)
	line("Journal", st.Journal)
	return b.String()
}

func newHostShell(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "shell [COMMAND] [ARG...]", Short: "Run a command inside the embedded host, a shell by default",
		Args: cobra.ArbitraryArgs,
	}
	cmd.Flags().SetInterspersed(false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !host.Needed() {
			return hinted(errors.New("the embedded host is not used here: systemd runs"), "use systemctl and journalctl directly")
		}
		if _, err := host.EnsureRunning(cmd.Context(), c.hostOptions()); err != nil {
			return err
		}
		c.releaseSignals()
		code, err := host.Shell(cmd.Context(), c.hostOptions(), args)
		if err != nil {
			return err
		}
		return exitCode(code)
	}
	return cmd
}

func newHostLogs(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "logs [JOURNALCTL OPTIONS]", Short: "Show the journal of the embedded host with journalctl",
		Args: cobra.ArbitraryArgs,
	}
	cmd.Flags().SetInterspersed(false)
	cmd.DisableFlagParsing = true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
			help(cmd, nil)
			return nil
		}
		code, err := host.Logs(cmd.Context(), c.hostOptions().Root, args...)
		if err != nil {
			return err
		}
		return exitCode(code)
	}
	return cmd
}
