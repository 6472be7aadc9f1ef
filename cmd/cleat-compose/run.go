package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// runFlags are the flags of run.
type runFlags struct {
	opt                   compose.RunOptions
	detach, noTTY, noDeps bool
	entrypoint            string
	env, labels           *opts.List[string]
	caps, drops           *opts.List[string]
	volumes               *opts.List[spec.Mount]
	publish               []string

	build, quietBuild bool
	pull              string
	envFiles          []string
}

func newRun(c *cli) *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{Use: "run [OPTIONS] SERVICE [COMMAND] [ARGS...]", Short: "Run a one-off command on a service", Args: cobra.MinimumNArgs(1)}
	f.define(cmd.Flags(), c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd.Flags(), args[1:]); err != nil {
			return usageError{err}
		}
		return c.runOneOff(cmd.Context(), f, args[0])
	}
	return cmd
}

func (f *runFlags) define(fs *pflag.FlagSet, c *cli) {
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.detach, "detach", "d", false, "Run container in background and print container ID")
	f.env = opts.NewList("", opts.EnvParser(os.LookupEnv))
	fs.VarP(f.env, "env", "e", "Set environment variables")
	f.labels = opts.NewList("", opts.Label)
	fs.VarP(f.labels, "label", "l", "Add or override a label")
	f.caps, f.drops = opts.NewList("", opts.Capability), opts.NewList("", opts.Capability)
	fs.Var(f.caps, "cap-add", "Add Linux capabilities")
	fs.Var(f.drops, "cap-drop", "Drop Linux capabilities")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "Override the entrypoint of the image")
	fs.BoolVarP(&f.opt.Stdin, "interactive", "i", true, "Keep STDIN open even if not attached")
	fs.StringVar(&f.opt.Name, "name", "", "Assign a name to the container")
	fs.BoolVarP(&f.noTTY, "no-TTY", "T", !isTerminal(c.in) || !isTerminal(c.out), "Disable pseudo-TTY allocation")
	fs.BoolP("tty", "t", true, "Allocate a pseudo-TTY (the default)")
	_ = fs.MarkHidden("tty") // defined above; Docker hides it too
	fs.BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil, "Publish a container's port(s) to the host")
	fs.BoolVar(&f.opt.Remove, "rm", false, "Automatically remove the container when it exits")
	fs.BoolVarP(&f.opt.ServicePorts, "service-ports", "P", false, "Run command with all service's ports enabled and mapped to the host")
	fs.BoolVar(&f.opt.Aliases, "use-aliases", false, "Use the service's network useAliases in the network(s) the container connects to")
	fs.StringVarP(&f.opt.User, "user", "u", "", "Run as specified username or uid")
	dir, _ := os.Getwd() // "": then a path has to be absolute
	f.volumes = opts.NewList("", opts.VolumeParser(dir))
	fs.VarP(f.volumes, "volume", "v", "Bind mount a volume")
	fs.StringVarP(&f.opt.Dir, "workdir", "w", "", "Working directory inside the container")
	fs.BoolVar(&f.build, "build", false, "Build image before starting container")
	fs.BoolVar(&f.quietBuild, "quiet-build", false, "Suppress progress output from the build process")
	fs.StringArrayVar(&f.envFiles, "env-from-file", nil, "Set environment variables from file")
	fs.StringVar(&f.pull, "pull", "policy", `Pull image before running ("always"|"missing"|"never")`)
	refuseBool(fs, "remove-orphans", "is not supported: 'cleat compose up --remove-orphans' does it")
	fs.BoolP("quiet", "q", false, "Don't print anything to STDOUT (there is nothing to print)")
	fs.Bool("quiet-pull", false, "Pull without printing progress information (there is none)")
}

func (f *runFlags) check(fs *pflag.FlagSet, command []string) error {
	fromFiles, err := compose.ReadEnvFiles(f.envFiles)
	if err != nil {
		return err
	}
	f.opt.Command, f.opt.Env, f.opt.Labels = command, append(fromFiles, f.env.Values...), opts.Map(f.labels.Values)
	f.opt.CapAdd, f.opt.CapDrop, f.opt.Mounts = f.caps.Values, f.drops.Values, f.volumes.Values
	f.opt.TTY = !f.noTTY && !f.detach
	f.opt.Stdin = f.opt.Stdin && !f.detach
	if fs.Changed("entrypoint") {
		f.opt.Entrypoint = &f.entrypoint
	}
	for _, text := range f.publish {
		ports, err := engine.ParsePublish(text)
		if err != nil {
			return err
		}
		f.opt.Ports = append(f.opt.Ports, ports...)
	}
	return nil
}

// runOneOff brings up what a service depends on, and runs a container of it.
func (c *cli) runOneOff(ctx context.Context, f *runFlags, service string) error {
	whole, err := c.project(ctx)
	if err != nil {
		return err
	}
	p, err := whole.Select([]string{service}, compose.SelectOptions{Alone: f.noDeps})
	if err != nil {
		return err
	}
	if deps := slices.DeleteFunc(p.Services(), func(s string) bool { return s == service }); len(deps) > 0 {
		up := &upFlags{detach: true}
		up.opt.Pull, up.opt.IgnoreOrphans, up.opt.NoRecreate = "policy", true, true
		if err := c.up(ctx, up, deps); err != nil {
			return err
		}
	}
	opt, err := p.OneOff(service, f.opt)
	if err != nil {
		return err
	}
	if err := c.imageOf(ctx, p, f, service); err != nil {
		return err
	}
	if err := c.prepare(ctx, p); err != nil {
		return err
	}
	if c.dryRun {
		fmt.Fprintf(c.out, "create %s from %s, and start it\n", opt.Container.Name, opt.Image)
		return nil
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	made, err := opt.Create(ctx, eng)
	if err != nil {
		return err
	}
	if f.detach {
		if err := eng.Start(ctx, made.ID); err != nil {
			return err
		}
		fmt.Fprintln(c.out, made.Name)
		return nil
	}
	argv := []string{"start", "--attach"}
	if f.opt.Stdin {
		argv = append(argv, "--interactive")
	}
	return c.become(append(argv, made.ID)...)
}

// imageOf brings the image of one service, built or pulled.
func (c *cli) imageOf(ctx context.Context, p *compose.Project, f *runFlags, service string) error {
	one, err := p.Select([]string{service}, compose.SelectOptions{Alone: true})
	if err != nil {
		return err
	}
	eng, err := c.engine()
	if err != nil {
		return err
	}
	up := &upFlags{build: f.build, quietBuild: f.quietBuild}
	up.opt.Pull = f.pull
	if err := up.check(one); err != nil {
		return err
	}
	_, err = c.fetch(ctx, eng, one, up)
	return err
}

// prepare makes the networks and volumes of a project without its containers.
func (c *cli) prepare(ctx context.Context, p *compose.Project) error {
	eng, err := c.engine()
	if err != nil {
		return err
	}
	st, err := compose.ReadState(ctx, eng, p.Name(), p)
	if err != nil {
		return err
	}
	plan, err := compose.PlanPrepare(p, st)
	if err != nil {
		return err
	}
	return c.execute(ctx, plan)
}
