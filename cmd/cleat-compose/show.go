package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

func newPort(c *cli) *cobra.Command {
	var proto string
	var index int
	cmd := &cobra.Command{Use: "port [OPTIONS] SERVICE PRIVATE_PORT", Short: "Print the public port for a port binding", Args: cobra.ExactArgs(2)}
	cmd.Flags().StringVar(&proto, "protocol", "tcp", "tcp or udp")
	cmd.Flags().IntVar(&index, "index", 0, "Index of the container if service has multiple replicas")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		port, err := strconv.ParseUint(args[1], 10, 16)
		if err != nil {
			return usageError{fmt.Errorf("port %q: must be a number up to 65535", args[1])}
		}
		ct, err := c.one(cmd, args[0], index)
		if err != nil {
			return err
		}
		for _, p := range ct.Ports {
			if uint64(p.ContainerPort) == port && string(p.Proto) == strings.ToLower(proto) && p.HostPort != 0 {
				host := p.HostIP.String()
				if p.HostIP.Is6() {
					host = "[" + host + "]"
				}
				fmt.Fprintf(c.out, "%s:%d\n", host, p.HostPort)
				return nil
			}
		}
		return fmt.Errorf("no port %d/%s of %s is published now", port, proto, ct.Name)
	}
	return cmd
}

func newTop(c *cli) *cobra.Command {
	cmd := &cobra.Command{Use: "top [SERVICES...]", Short: "Display the running processes"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		for _, ct := range list {
			if ct.Status != engine.StatusRunning && ct.Status != engine.StatusPaused {
				continue
			}
			table, err := eng.Top(cmd.Context(), ct.ID, nil)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.out, ct.Name)
			w := newTable(c)
			fmt.Fprintln(w, strings.Join(table.Titles, "\t"))
			for _, row := range table.Processes {
				fmt.Fprintln(w, strings.Join(row, "\t"))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintln(c.out)
		}
		return nil
	}
	return cmd
}

func newImages(c *cli) *cobra.Command {
	var quiet bool
	var format string
	cmd := &cobra.Command{Use: "images [OPTIONS] [SERVICE...]", Short: "List images used by the created containers"}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display IDs")
	cmd.Flags().StringVar(&format, "format", "table", `Format the output. Values: [table | json]`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		type row struct {
			ID, ContainerName, Repository, Tag string
			Size                               int64
		}
		var rows []row
		for _, ct := range list {
			r := row{ID: ct.Image.ID, ContainerName: ct.Name}
			r.Repository, r.Tag = listing.Familiar(ct.Image.Reference), "latest"
			if i := strings.LastIndexByte(r.Repository, ':'); i > strings.LastIndexByte(r.Repository, '/') {
				r.Repository, r.Tag = r.Repository[:i], r.Repository[i+1:]
			}
			if img, err := eng.InspectImage(cmd.Context(), ct.Image.ID); err == nil { // it may be gone
				r.Size = img.Size
			}
			rows = append(rows, r)
		}
		return printList(c, rows, quiet, format, "CONTAINER\tREPOSITORY\tTAG\tIMAGE ID\tSIZE", func(r row) (name, line string) {
			id := strings.TrimPrefix(r.ID, "sha256:")
			size := units.HumanSizeWithPrecision(float64(r.Size), 3)
			return id, strings.Join([]string{r.ContainerName, r.Repository, r.Tag, id[:min(12, len(id))], size}, "\t")
		})
	}
	return cmd
}

func newCp(c *cli) *cobra.Command {
	var index int
	var archive, followLink bool
	cmd := &cobra.Command{
		Use: "cp [OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n\tcleat compose cp [OPTIONS] SRC_PATH|- SERVICE:DEST_PATH", Short: "Copy files/folders between a service container and the local filesystem",
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().IntVar(&index, "index", 0, "Index of the container if service has multiple replicas")
	cmd.Flags().BoolVarP(&archive, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	cmd.Flags().BoolVarP(&followLink, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	refuseBool(cmd.Flags(), "all", "is not supported: name the container with --index")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		argv := []string{"cp"}
		if archive {
			argv = append(argv, "--archive")
		}
		if followLink {
			argv = append(argv, "--follow-link")
		}
		for _, arg := range args {
			service, path, ok := strings.Cut(arg, ":")
			if ok && !strings.ContainsAny(service, "/.") {
				ct, err := c.one(cmd, service, index)
				if err != nil {
					return err
				}
				arg = ct.ID + ":" + path
			}
			argv = append(argv, arg)
		}
		return c.become(argv...)
	}
	return cmd
}

func newStats(c *cli) *cobra.Command {
	var all, noStream, noTrunc bool
	var format string
	cmd := &cobra.Command{Use: "stats [OPTIONS] [SERVICE]", Short: "Display a live stream of container(s) resource usage statistics"}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Show all containers (default shows just running)")
	cmd.Flags().BoolVar(&noStream, "no-stream", false, "Disable streaming stats and only pull the first result")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "Do not truncate output")
	cmd.Flags().StringVar(&format, "format", "", "Format output using a custom template")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		argv := []string{"stats"}
		for flag, on := range map[string]bool{"--no-stream": noStream, "--no-trunc": noTrunc, "--format=" + format: format != ""} {
			if on {
				argv = append(argv, flag)
			}
		}
		some := false
		for _, ct := range list {
			if all || ct.Status == engine.StatusRunning || ct.Status == engine.StatusPaused {
				argv, some = append(argv, ct.ID), true
			}
		}
		if !some {
			return fmt.Errorf("no container of the project runs")
		}
		return c.become(argv...)
	}
	return cmd
}

func newEvents(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "events [OPTIONS] [SERVICE...]", Short: "Receive real time events from containers"}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Output events as a stream of json objects")
	since := cmd.Flags().String("since", "", "Show all events created since timestamp")
	until := cmd.Flags().String("until", "", "Stream events until this timestamp")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, _, err := c.named(cmd.Context())
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		opt := engine.EventOptions{Filters: map[string][]string{"type": {"container"}, "label": {compose.LabelOfProject(name)}}}
		now := time.Now()
		if opt.Since, err = listing.Time(*since, now); err != nil {
			return usageError{fmt.Errorf("--since: %w", err)}
		}
		if opt.Until, err = listing.Time(*until, now); err != nil {
			return usageError{fmt.Errorf("--until: %w", err)}
		}
		for ev, err := range eng.Events(cmd.Context(), opt) {
			if err != nil {
				return err
			}
			if service := compose.ServiceOfEvent(ev); len(args) == 0 || slices.Contains(args, service) {
				printEvent(c.out, ev, service, asJSON)
			}
		}
		return nil
	}
	return cmd
}

func printEvent(w io.Writer, ev engine.Event, service string, asJSON bool) {
	attributes := maps.Clone(ev.Attributes)
	maps.DeleteFunc(attributes, func(k, _ string) bool { return compose.IsOwnLabel(k) })
	if asJSON {
		_ = json.NewEncoder(w).Encode(map[string]any{ // whoever reads has gone: then SIGPIPE ends the program
			"time": ev.Time.Format("2006-01-02T15:04:05.000000000Z07:00"), "type": ev.Type, "service": service,
			"id": ev.Object, "action": ev.Action, "attributes": attributes,
		})
		return
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		pairs = append(pairs, k+"="+attributes[k])
	}
	fmt.Fprintf(w, "%s container %s %s (%s)\n", ev.Time.Format("2006-01-02 15:04:05.000000"), ev.Action, ev.Object, strings.Join(pairs, ", "))
}

func newLs(c *cli) *cobra.Command {
	var all, quiet bool
	var format string
	cmd := &cobra.Command{Use: "ls [OPTIONS]", Short: "List running compose projects", Args: cobra.NoArgs}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Show all stopped Compose projects")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display project names")
	cmd.Flags().StringVar(&format, "format", "table", `Format the output. Values: [table | json]`)
	filters := cmd.Flags().StringArray("filter", nil, "Filter output based on conditions provided (name=PART)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		list, err := compose.Containers(cmd.Context(), eng, "")
		if err != nil {
			return err
		}
		projects := compose.Projects(list, all)
		for _, f := range *filters {
			part, ok := strings.CutPrefix(f, "name=")
			if !ok {
				return usageError{fmt.Errorf("--filter %q: must be name=PART", f)}
			}
			projects = slices.DeleteFunc(projects, func(p compose.Listed) bool { return !strings.Contains(p.Name, part) })
		}
		return printList(c, projects, quiet, format, "NAME\tSTATUS\tCONFIG FILES\tSLICE",
			func(p compose.Listed) (name, row string) {
				return p.Name, strings.Join([]string{p.Name, p.Status, p.ConfigFiles, p.Slice}, "\t")
			})
	}
	return cmd
}

func newVolumes(c *cli) *cobra.Command {
	var quiet bool
	var format string
	cmd := &cobra.Command{Use: "volumes [OPTIONS] [SERVICE...]", Short: "List volumes"}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	cmd.Flags().StringVar(&format, "format", "table", `Format output ("table"|"json")`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, _, err := c.named(cmd.Context())
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		volumes, err := eng.Volumes(cmd.Context(), engine.VolumeFilter{Labels: []string{compose.LabelOfProject(name)}})
		if err != nil {
			return err
		}
		_, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		volumes = slices.DeleteFunc(volumes, func(v engine.Volume) bool {
			return len(args) > 0 && !slices.ContainsFunc(list, func(ct engine.Container) bool { return slices.Contains(v.Users, ct.ID) })
		})
		return printList(c, volumes, quiet, format, "DRIVER\tVOLUME NAME",
			func(v engine.Volume) (name, row string) { return v.Name, "local\t" + v.Name })
	}
	return cmd
}

// printList prints a list in the format that was asked for: names alone, each once,
// JSON, or a table, of which show gives the rows.
func printList[T any](c *cli, all []T, quiet bool, format, header string, show func(T) (name, row string)) error {
	switch {
	case quiet:
		seen := map[string]bool{}
		for _, item := range all {
			if name, _ := show(item); !seen[name] {
				fmt.Fprintln(c.out, name)
				seen[name] = true
			}
		}
		return nil
	case format == "json":
		return json.NewEncoder(c.out).Encode(all)
	case format != "table":
		return usageError{fmt.Errorf("--format %q: must be table or json", format)}
	}
	w := newTable(c)
	fmt.Fprintln(w, header)
	for _, item := range all {
		_, row := show(item)
		fmt.Fprintln(w, row)
	}
	return w.Flush()
}
