package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// psRow is a container as "ps --format json" shows it, with Docker's keys.
type psRow struct {
	ID, Name, Command, Project, Service, Image, State, Status, Health string
	ExitCode                                                          int
	Ports                                                             string
}

func newPs(c *cli) *cobra.Command {
	var all, quiet, services, orphans, noTrunc bool
	var format string
	var status, filters []string
	cmd := &cobra.Command{Use: "ps [OPTIONS] [SERVICE...]", Short: "List containers"}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Show all stopped containers (including those created by the run command)")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display IDs")
	fs.BoolVar(&services, "services", false, "Display services")
	fs.BoolVar(&orphans, "orphans", true, "Include orphaned services (not declared by project)")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.StringVar(&format, "format", "table", `Format output ("table"|"json")`)
	fs.StringArrayVar(&status, "status", nil, "Filter services by status. Values: [paused | restarting | removing | running | dead | created | exited]")
	fs.StringArrayVar(&filters, "filter", nil, "Filter services by a property (supported filters: status)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, f := range filters {
			value, ok := strings.CutPrefix(f, "status=")
			if !ok {
				return usageError{fmt.Errorf("--filter %q: must be status=STATUS", f)}
			}
			status = append(status, value)
		}
		if format != "table" && format != "json" {
			return usageError{fmt.Errorf("--format %q: must be table or json", format)}
		}
		ctx := cmd.Context()
		name, p, err := c.named(ctx)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		list, err := compose.Containers(ctx, eng, name)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(ct engine.Container) bool {
			service := compose.ServiceOf(ct)
			up := ct.Status == engine.StatusRunning || ct.Status == engine.StatusPaused || ct.Status == engine.StatusRestarting
			switch {
			case len(status) > 0 && !slices.Contains(status, string(ct.Status)):
			case len(status) == 0 && !all && !up:
			case len(args) > 0 && !slices.Contains(args, service):
			case !orphans && p != nil && p.ImageOf(service) == "":
			default:
				return false
			}
			return true
		})
		return c.printPs(list, format, quiet, services, noTrunc)
	}
	return cmd
}

func (c *cli) printPs(list []engine.Container, format string, quiet, services, noTrunc bool) error {
	if quiet || services {
		seen := map[string]bool{}
		for _, ct := range list {
			word := ct.ID
			if services {
				word = compose.ServiceOf(ct)
			}
			if !seen[word] {
				fmt.Fprintln(c.out, word)
			}
			seen[word] = true
		}
		return nil
	}
	now := time.Now()
	if format == "json" {
		enc := json.NewEncoder(c.out)
		for _, ct := range list {
			if err := enc.Encode(newPsRow(ct, now)); err != nil {
				return err
			}
		}
		return nil
	}
	w := newTable(c)
	fmt.Fprintln(w, "NAME\tIMAGE\tCOMMAND\tSERVICE\tCREATED\tSTATUS\tPORTS")
	for _, ct := range list {
		r := newPsRow(ct, now)
		command := r.Command
		if !noTrunc && len(command) > 22 {
			command = command[:21] + "…\""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s ago\t%s\t%s\n", r.Name, r.Image, command, r.Service, units.HumanDuration(now.Sub(ct.Created)), r.Status, r.Ports)
	}
	return w.Flush()
}

func newTable(c *cli) *tabwriter.Writer { return tabwriter.NewWriter(c.out, 10, 1, 3, ' ', 0) }

func newPsRow(ct engine.Container, now time.Time) psRow {
	r := psRow{
		ID: ct.ID, Name: ct.Name, Command: fmt.Sprintf("%q", strings.Join(ct.Process.Argv(), " ")),
		Project: compose.ProjectOf(ct), Service: compose.ServiceOf(ct), Image: ct.Image.Reference,
		State: string(ct.Status), Status: listing.StatusText(ct, now), ExitCode: ct.Run.ExitCode,
	}
	if ct.Health != nil {
		r.Health = string(ct.Health.Status)
	}
	var ports []string
	for _, p := range ct.Ports {
		text := fmt.Sprintf("%d/%s", p.ContainerPort, p.Proto)
		if p.HostPort != 0 {
			host := p.HostIP.String()
			if p.HostIP.Is6() {
				host = "[" + host + "]"
			}
			text = fmt.Sprintf("%s:%d->%s", host, p.HostPort, text)
		}
		ports = append(ports, text)
	}
	r.Ports = strings.Join(ports, ", ")
	return r
}
