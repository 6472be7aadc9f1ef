package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
)

func newBuild(c *cli) *cobra.Command {
	var noCache, pull, quiet, deps, show bool
	var buildArgs []string
	var memory string
	cmd := &cobra.Command{Use: "build [OPTIONS] [SERVICE...]", Short: "Build or rebuild services"}
	fs := cmd.Flags()
	fs.StringArrayVar(&buildArgs, "build-arg", nil, "Set build-time variables for services")
	fs.StringVarP(&memory, "memory", "m", "", "Set memory limit for the build container")
	fs.BoolVar(&noCache, "no-cache", false, "Do not use cache when building the image")
	fs.BoolVar(&pull, "pull", false, "Always attempt to pull a newer version of the image")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Suppress the build output")
	fs.BoolVar(&deps, "with-dependencies", false, "Also build dependencies (transitively)")
	fs.BoolVar(&show, "print", false, "Print the commands that build, and do nothing")
	refuseBool(fs, "push", "is not supported: push the image with 'cleat push'")
	refuseBool(fs, "check", "is not supported by this version")
	refuse(fs, "builder", "is not supported: builds are done by cleat itself", "default")
	refuse(fs, "provenance", "is not supported: images have no attestations", "false")
	refuse(fs, "sbom", "is not supported: images have no attestations", "false")
	refuse(fs, "ssh", "is not supported: agents are not forwarded")
	refuse(fs, "progress", "is not supported by this version", "auto", "plain")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var extra []string
		for flag, on := range map[string]bool{"--no-cache": noCache, "--pull": pull, "--quiet": quiet, "--memory=" + memory: memory != ""} {
			if on {
				extra = append(extra, flag)
			}
		}
		for _, a := range buildArgs {
			extra = append(extra, "--build-arg", a)
		}
		whole, err := c.project(cmd.Context())
		if err != nil {
			return err
		}
		p, err := whole.Select(args, compose.SelectOptions{Alone: !deps})
		if err != nil {
			return err
		}
		if err := p.Check(); err != nil {
			return err
		}
		builds, err := p.Builds(&compose.State{}, true)
		if err != nil {
			return err
		}
		if len(builds) == 0 {
			c.warn("no service to build")
		}
		c.dryRun = c.dryRun || show
		return c.buildAll(cmd.Context(), builds, extra)
	}
	return cmd
}

// buildAll builds images, one after the other: each uses all of the machine.
func (c *cli) buildAll(ctx context.Context, builds []compose.Build, extra []string) error {
	for _, b := range builds {
		args := slices.Concat([]string{"build"}, extra, b.Args)
		if c.dryRun {
			fmt.Fprintf(c.out, "build image %s: cleat %s\n", b.Image, strings.Join(args, " "))
			continue
		}
		if err := c.build(ctx, b, args); err != nil {
			return fmt.Errorf("build service %q: %w", b.Service, err)
		}
		fmt.Fprintf(c.err, " Image %s  Built\n", b.Image)
	}
	return nil
}

// build runs "cleat build". Its output is progress, and goes where that goes.
func (c *cli) build(ctx context.Context, b compose.Build, args []string) error {
	exe, err := cleatProgram()
	if err != nil {
		return err
	}
	global := []string{"--root", c.root}
	if c.runRoot != "" {
		global = append(global, "--runroot", c.runRoot)
	}
	cmd := exec.CommandContext(ctx, exe, append(global, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env, cmd.Stdout, cmd.Stderr = os.Environ(), c.err, c.err
	if b.Dockerfile != "" {
		cmd.Stdin = strings.NewReader(b.Dockerfile)
	}
	return cmd.Run()
}
