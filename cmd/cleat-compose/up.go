package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
)

// upFlags are those that up, create and scale share.
type upFlags struct {
	opt     compose.UpOptions
	noDeps  bool
	scale   []string
	timeout int

	build, noBuild, quietBuild bool

	detach      bool
	waitSeconds int

	foregroundFlags
}

func (f *upFlags) define(fs *pflag.FlagSet) {
	fs.BoolVar(&f.opt.ForceRecreate, "force-recreate", false, "Recreate containers even if their configuration and image haven't changed")
	fs.BoolVar(&f.opt.NoRecreate, "no-recreate", false, "If containers already exist, don't recreate them")
	fs.BoolVar(&f.opt.RemoveOrphans, "remove-orphans", truth("COMPOSE_REMOVE_ORPHANS"), "Remove containers for services not defined in the Compose file")
	fs.StringVar(&f.opt.Pull, "pull", "policy", `Pull image before running ("always"|"missing"|"never"|"policy")`)
	fs.StringArrayVar(&f.scale, "scale", nil, "Scale SERVICE to NUM instances")
	fs.BoolVar(&f.build, "build", false, "Build images before starting containers")
	fs.BoolVar(&f.noBuild, "no-build", false, "Don't build an image, even if it's policy")
	fs.BoolVar(&f.quietBuild, "quiet-build", false, "Suppress the build output")
	fs.Bool("quiet-pull", false, "Pull without printing progress information (there is none)")
	fs.BoolP("yes", "y", false, `Assume "yes" as answer to all prompts (there are none)`)
}

func newUp(c *cli) *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{Use: "up [OPTIONS] [SERVICE...]", Short: "Create and start containers"}
	fs := cmd.Flags()
	f.define(fs)
	fs.BoolVarP(&f.detach, "detach", "d", false, "Detached mode: Run containers in the background")
	fs.BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	fs.BoolVar(&f.opt.NoStart, "no-start", false, "Don't start the services after creating them")
	fs.BoolVar(&f.opt.RecreateDeps, "always-recreate-deps", false, "Recreate dependent containers")
	fs.BoolVarP(&f.opt.RenewAnonVolumes, "renew-anon-volumes", "V", false, "Recreate anonymous volumes instead of retrieving data from the previous containers")
	fs.IntVarP(&f.timeout, "timeout", "t", 0, "Use this timeout in seconds for container shutdown")
	fs.BoolVar(&f.opt.Wait, "wait", false, "Wait for services to be running|healthy. Implies detached mode")
	fs.IntVar(&f.waitSeconds, "wait-timeout", 0, "Maximum duration in seconds to wait for the project to be running|healthy")
	f.foregroundFlags.define(fs)
	cmd.Args = func(*cobra.Command, []string) error { // looked at before anything is started
		f.detach = f.detach || f.opt.Wait
		if err := f.settle(f.detach); err != nil {
			return usageError{err}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("timeout") {
			f.opt.Stop.Grace = new(time.Duration(f.timeout) * time.Second)
		}
		return c.up(cmd.Context(), f, args)
	}
	return cmd
}

func newCreate(c *cli) *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{Use: "create [OPTIONS] [SERVICE...]", Short: "Creates containers for a service"}
	f.define(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.opt.NoStart, f.detach = true, true
		return c.up(cmd.Context(), f, args)
	}
	return cmd
}

// check reads what needs more than a flag's type.
func (f *upFlags) check(p *compose.Project) error {
	if f.build && f.noBuild {
		return usageError{errors.New("--build and --no-build are incompatible")}
	}
	if f.opt.ForceRecreate && f.opt.NoRecreate {
		return usageError{errors.New("--force-recreate and --no-recreate are incompatible")}
	}
	switch f.opt.Pull {
	case "policy":
		f.opt.Pull = ""
	case "always", "missing", "never":
	default:
		return usageError{fmt.Errorf("--pull %q: must be always, missing, never or policy", f.opt.Pull)}
	}
	f.opt.IgnoreOrphans = truth("COMPOSE_IGNORE_ORPHANS")
	f.opt.Scale = map[string]int{}
	for _, entry := range f.scale {
		name, text, _ := strings.Cut(entry, "=")
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return usageError{fmt.Errorf("--scale %q: must be SERVICE=NUMBER", entry)}
		}
		if p.ImageOf(name) == "" {
			return fmt.Errorf("--scale %q: the project has no active service %q", entry, name)
		}
		f.opt.Scale[name] = n
	}
	return nil
}

// up brings the project up: first the images are fetched, because they say what
// has changed.
func (c *cli) up(ctx context.Context, f *upFlags, services []string) error {
	whole, err := c.project(ctx)
	if err != nil {
		return err
	}
	f.opt.Services = services
	p, err := whole.Select(services, compose.SelectOptions{Alone: f.noDeps})
	if err != nil {
		return err
	}
	if err := errors.Join(f.check(p), f.foregroundFlags.check(whole), p.Check()); err != nil {
		return err
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	st, err := c.fetch(ctx, eng, p, f)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, f.waitSeconds)
	defer cancel()
	plan, err := compose.PlanUp(p, st, f.opt)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.execute(ctx, plan); err != nil || f.detach || f.opt.NoStart || c.dryRun {
		return err
	}
	return c.follow(ctx, eng, p, f, services, began)
}

// fetch brings the images of a project, built or pulled, and returns what there
// is then.
func (c *cli) fetch(ctx context.Context, eng *engine.Engine, p *compose.Project, f *upFlags) (*compose.State, error) {
	st, err := compose.ReadState(ctx, eng, p.Name(), p)
	if err != nil {
		return nil, err
	}
	built := false
	if !f.noBuild {
		builds, err := p.Builds(st, f.build)
		if err != nil {
			return nil, err
		}
		var extra []string
		if f.quietBuild {
			extra = []string{"--quiet"}
		}
		if err := c.buildAll(ctx, builds, extra); err != nil {
			return nil, err
		}
		built = len(builds) > 0
		for _, b := range builds {
			if _, here := st.Images[b.Image]; !here {
				st.Images[b.Image] = "" // or will be, in a dry run
			}
		}
	}
	pulls, err := compose.PlanPull(p, st, f.opt)
	if err != nil {
		return nil, err
	}
	if pulls.Empty() && len(st.Images) > 0 && !built {
		return st, nil
	}
	if !pulls.Empty() {
		if err := c.execute(ctx, pulls); err != nil {
			return nil, err
		}
	}
	return compose.ReadState(ctx, eng, p.Name(), p)
}

// firstExit waits for the end of any container, or for that of a service, and
// returns its exit code.
func firstExit(ctx context.Context, eng *engine.Engine, list []engine.Container, service string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	codes := make(chan int, len(list))
	for _, ct := range list {
		if service != "" && compose.ServiceOf(ct) != service {
			continue
		}
		go func() {
			if code, err := eng.Wait(ctx, ct.ID, engine.WaitNotRunning); err == nil {
				codes <- code
			}
		}()
	}
	select {
	case code := <-codes:
		return code
	case <-ctx.Done():
		return 0
	}
}

func newScale(c *cli) *cobra.Command {
	f := &upFlags{detach: true}
	cmd := &cobra.Command{Use: "scale [SERVICE=REPLICAS...]", Short: "Scale services", Args: cobra.MinimumNArgs(1)}
	cmd.Flags().BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.scale, f.opt.Pull, f.opt.NoRecreate, f.opt.IgnoreOrphans = args, "policy", true, true
		var services []string
		for _, arg := range args {
			name, _, _ := strings.Cut(arg, "=")
			services = append(services, name)
		}
		return c.up(cmd.Context(), f, services)
	}
	return cmd
}
