package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type informer interface {
	Info(ctx context.Context) (*engine.Info, error)
}

// infoObject is what a template of info may name.
type infoObject struct {
	*engine.Info
	ClientInfo clientInfo
}

// clientInfo is what Docker says of its client, which is the same program here.
type clientInfo struct {
	Debug    bool
	Version  string
	Plugins  []string
	Warnings []string
}

func newInfo(c *cli) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use: "info [OPTIONS]", Short: "Display system-wide information",
		Annotations: also("system info", "info"),
		Args:        exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectFormatUsage)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.info(cmd.Context(), eng, layout)
	}
	return cmd
}

func (c *cli) info(ctx context.Context, eng informer, layout string) error {
	i, err := eng.Info(ctx)
	if err != nil {
		return err
	}
	if layout != "" {
		return format.Objects(c.out, layout, []any{infoObject{i, clientInfo{Version: version, Plugins: []string{}, Warnings: []string{}}}})
	}
	if _, err := c.out.Write(infoText(i)); err != nil {
		return err
	}
	for _, w := range i.Warnings {
		fmt.Fprintln(c.err, w)
	}
	return nil
}

// infoText writes i as Docker does, so that scripts that cut out lines go on.
func infoText(i *engine.Info) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Client:\n Version:    %s\n Debug Mode: %t\n\nServer:", version, i.Debug)
	line(" Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d", i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped)
	line(" Images: %d\n Server Version: %s\n Storage Driver: %s", i.Images, i.ServerVersion, i.Driver)
	for _, pair := range i.DriverStatus {
		line("  %s: %s", pair[0], pair[1])
	}
	line(" Logging Driver: %s\n Cgroup Driver: %s\n Cgroup Version: %s", i.LoggingDriver, i.CgroupDriver, i.CgroupVersion)
	line(" Plugins:\n  Volume: %s\n  Network: %s\n  Log: %s", words(i.Plugins.Volume), words(i.Plugins.Network), words(i.Plugins.Log))
	line(" Swarm: %s\n Runtimes: %s\n Default Runtime: %s\n Init Binary: %s", i.Swarm.LocalNodeState, words(slices.Sorted(maps.Keys(i.Runtimes))), i.DefaultRuntime, i.InitBinary)
	line(" systemd version: %s", i.SystemdVersion)
	line(" Security Options:")
	for _, o := range i.SecurityOptions {
		name, profile, has := strings.Cut(strings.TrimPrefix(o, "name="), ",profile=")
		line("  %s", name)
		if has {
			line("   Profile: %s", profile)
		}
	}
	line(" Kernel Version: %s\n Operating System: %s\n OSType: %s\n Architecture: %s", i.KernelVersion, i.OperatingSystem, i.OSType, i.Architecture)
	line(" CPUs: %d\n Total Memory: %s\n Name: %s\n ID: %s\n Docker Root Dir: %s", i.NCPU, units.BytesSize(float64(i.MemTotal)), i.Name, i.ID, i.DockerRootDir)
	line(" Debug Mode: %t", i.Debug)
	for _, p := range [][2]string{{"HTTP Proxy", i.HTTPProxy}, {"HTTPS Proxy", i.HTTPSProxy}, {"No Proxy", i.NoProxy}} {
		if p[1] != "" {
			line(" %s: %s", p[0], withoutPassword(p[1]))
		}
	}
	line(" Experimental: %t", i.ExperimentalBuild)
	infoRegistries(line, i.RegistryConfig)
	line(" Live Restore Enabled: %t\n", i.LiveRestoreEnabled)
	return b.Bytes()
}

func infoRegistries(line func(string, ...any), r engine.InfoRegistry) {
	line(" Insecure Registries:")
	for _, name := range slices.Sorted(maps.Keys(r.IndexConfigs)) {
		if !r.IndexConfigs[name].Secure {
			line("  %s", name)
		}
	}
	for _, cidr := range r.InsecureRegistryCIDRs {
		line("  %s", cidr)
	}
	if len(r.Mirrors) > 0 {
		line(" Registry Mirrors:")
		for _, m := range r.Mirrors {
			line("  %s", m)
		}
	}
}

func words(list []string) string { return strings.Join(list, " ") }

// withoutPassword hides who logs in to a proxy.
func withoutPassword(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "", url
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "xxxxx:xxxxx" + rest[at:]
	}
	if !ok {
		return rest
	}
	return scheme + "://" + rest
}
