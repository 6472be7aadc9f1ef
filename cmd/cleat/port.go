package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func newPort(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Short: "List port mappings or a specific mapping for the container",
		Annotations: also("container port", "port"),
		Args:        between(1, 2), ValidArgsFunction: completeFirst(completeContainers(c, isRunning)),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.port(cmd.Context(), eng, args)
	}
	return cmd
}

// port prints what is published, and where: all of it, or of one port.
func (c *cli) port(ctx context.Context, eng getter, args []string) error {
	var only *spec.Port
	if len(args) > 1 {
		ports, err := engine.ParseExpose(args[1])
		if err != nil || len(ports) != 1 {
			return fmt.Errorf("invalid port '%s': it is PORT or PORT/PROTO", args[1])
		}
		only = &ports[0]
	}
	ct, err := eng.Get(ctx, args[0])
	if err != nil {
		return err
	}
	found := false
	for _, p := range sortedPorts(ct.Ports) {
		switch {
		case p.HostPort == 0:
			continue
		case only == nil:
			fmt.Fprintf(c.out, "%d/%s -> ", p.ContainerPort, p.Proto)
		case p.ContainerPort != only.ContainerPort || p.Proto != only.Proto:
			continue
		}
		found = true
		fmt.Fprintln(c.out, hostAddress(p, strconv.Itoa(int(p.HostPort))))
	}
	if only != nil && !found {
		return fmt.Errorf("no public port '%d/%s' published for %s", only.ContainerPort, only.Proto, args[0])
	}
	return nil
}

// hostAddress returns the address on which p is published and a port of it, or a
// range, with the brackets that IPv6 needs.
func hostAddress(p spec.Port, port string) string { return net.JoinHostPort(p.HostIP.String(), port) }

func sortedPorts(ports []spec.Port) []spec.Port {
	return slices.SortedFunc(slices.Values(ports), func(a, b spec.Port) int {
		return cmp.Or(cmp.Compare(a.ContainerPort, b.ContainerPort), cmp.Compare(a.Proto, b.Proto), a.HostIP.Compare(b.HostIP), cmp.Compare(a.HostPort, b.HostPort))
	})
}

// portText is the ports of a container in the column of ps: those that are the
// same on both sides are joined to ranges and come first, as in Docker.
func portText(ports []spec.Port) string {
	var runs, others []string
	open := map[spec.Port][2]uint16{} // by what their ports have in common: the first and the last of a range
	var kinds []spec.Port
	for _, p := range sortedPorts(ports) {
		if p.HostPort != 0 && p.HostPort != p.ContainerPort {
			others = append(others, fmt.Sprintf("%s->%d/%s", hostAddress(p, strconv.Itoa(int(p.HostPort))), p.ContainerPort, p.Proto))
			continue
		}
		kind := spec.Port{Proto: p.Proto, HostIP: p.HostIP}
		run, begun := open[kind]
		switch {
		case !begun:
			kinds = append(kinds, kind)
			run[0] = p.ContainerPort
		case p.ContainerPort != run[1]+1:
			runs = append(runs, runText(kind, run))
			run[0] = p.ContainerPort
		}
		run[1] = p.ContainerPort
		open[kind] = run
	}
	for _, kind := range kinds {
		runs = append(runs, runText(kind, open[kind]))
	}
	return strings.Join(append(runs, others...), ", ")
}

func runText(kind spec.Port, run [2]uint16) string {
	text := strconv.Itoa(int(run[0]))
	if run[1] != run[0] {
		text += "-" + strconv.Itoa(int(run[1]))
	}
	if kind.HostIP.IsValid() {
		text = hostAddress(kind, text) + "->" + text
	}
	return text + "/" + string(kind.Proto)
}
