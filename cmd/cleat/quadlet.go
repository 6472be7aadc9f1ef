package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/internal/buildflags"
	"github.com/cleat-project/cleat/quadlet"
	"github.com/cleat-project/cleat/spec"
)

type provider interface {
	Provide(ctx context.Context, opt engine.CreateOptions) (engine.Container, error)
	SweepDescribed(ctx context.Context) ([]string, error)
}

const quadletCheckLong = `
Checks files as podman-systemd.unit(5) describes them, .container, .volume,
.network, .image and .build, and prints what is wrong with them, with file and line.
Without arguments, those that become units are checked.

At boot, and with 'systemctl daemon-reload', the files in /run/cleat/quadlets,
/etc/cleat and /usr/share/cleat become units, and those in
/run/containers/systemd, /etc/containers/systemd and /usr/share/containers/systemd
unless Podman's own generator does that. web.container is web.service, and as a
container systemd-web, unless ContainerName= says otherwise; data.volume is
data-volume.service. What has a mistake becomes no unit, and the others do.
'cleat rename' and 'update' refuse such containers: change the file, and restart
the unit. One whose file is gone is removed when it has ended.`

func newQuadletCheck(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check [FILE...]", Short: "Check files that describe containers, volumes, networks, images and builds", Long: quadletCheckLong,
		Args: atLeast(0), Annotations: map[string]string{placeKey: placeAnywhere},
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		set, errs := c.quadlets(args)
		for _, name := range set.Names() {
			if _, err := c.describedUnits(set, set[name]); err != nil {
				errs = append(errs, flat(err)...)
			}
		}
		if len(errs) > 0 {
			return errs
		}
		fmt.Fprintf(c.out, "%d files are in order.\n", len(set))
		return nil
	}
	return cmd
}

// quadlets reads files with those beside them, or all there are.
func (c *cli) quadlets(paths []string) (quadlet.Set, errorList) {
	var errs errorList
	if len(paths) == 0 {
		set, err := quadlet.ReadDirs(quadlet.Directories())
		return set, flat(err)
	}
	set := quadlet.Set{}
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, path)
		}
		f, err := quadlet.ReadFile(path, quadlet.Directories())
		if err != nil {
			errs = append(errs, flat(err)...)
			continue
		}
		set[filepath.Base(path)] = f
	}
	return set, errs
}

// flat returns the errors that err joins, each of which gets a line.
func flat(err error) errorList {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errorList{err}
	}
	var all errorList
	for _, one := range joined.Unwrap() {
		all = append(all, flat(one)...)
	}
	return all
}

func newQuadletApply(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Make what a file describes (the generated units do that)", Hidden: true, Args: exactly(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dirs := append([]string{filepath.Dir(args[0])}, quadlet.Directories()...)
		f, err := quadlet.ReadFile(args[0], dirs)
		if err != nil {
			return err
		}
		set, _ := quadlet.ReadDirs(dirs) // what is wrong with others is not its business
		o, err := set.Object(f)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.applyQuadlet(cmd.Context(), eng, set, o)
	}
	return cmd
}

// applyQuadlet makes an object, or leaves it if it is there.
func (c *cli) applyQuadlet(ctx context.Context, eng backend, set quadlet.Set, o *quadlet.Object) error {
	switch o.File.Kind {
	case quadlet.KindContainer:
		opt, err := c.describedContainer(o, withFiles)
		if err != nil {
			return err
		}
		opt.Container.Source.Digest = set.Digest(o)
		_, err = eng.Provide(ctx, opt)
		return err
	case quadlet.KindVolume:
		opt := engine.CreateVolumeOptions{Name: o.Name}
		labels := opts.NewList("", opts.Any)
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.StringVar(&opt.Driver, "driver", "local", "")
		fs.Var(labels, "label", "")
		if err := setAll(fs, o); err != nil {
			return err
		}
		opt.Labels = pairs(labels.Values)
		_, err := eng.CreateVolume(ctx, opt)
		return err
	case quadlet.KindNetwork:
		return c.applyNetwork(ctx, eng, o)
	case quadlet.KindImage:
		return c.applyImage(ctx, eng, o)
	case quadlet.KindBuild:
		return c.applyBuild(o)
	}
	return nil
}

// applyBuild becomes the builder, whose cache knows what is to be done.
func (c *cli) applyBuild(o *quadlet.Object) error {
	args, err := buildArgs(o)
	if err != nil {
		return err
	}
	return c.become("cleat-build", args)
}

// buildArgs returns the command line of "cleat build". Podman's name for a
// Dockerfile counts as well.
func buildArgs(o *quadlet.Object) ([]string, error) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := buildflags.Define(fs)
	if err := setAll(fs, o); err != nil {
		return nil, err
	}
	args := buildflags.Args(fs)
	if inContext := filepath.Join(o.Args[0], "Containerfile"); f.File == "" && isFile(inContext) {
		args = append(args, "--file="+inContext)
	}
	return append(append(args, "--"), o.Args...), nil
}

func (c *cli) applyNetwork(ctx context.Context, eng backend, o *quadlet.Object) error {
	if _, err := eng.NetworkInspect(ctx, o.Name); err == nil || !errors.Is(err, spec.ErrNotFound) {
		return err
	}
	var f networkCreateFlags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.define(fs)
	if err := setAll(fs, o); err != nil {
		return err
	}
	opt, err := f.create(o.Name)
	if err != nil {
		return err
	}
	_, warnings, err := eng.NetworkCreate(ctx, opt)
	for _, w := range warnings {
		c.warn(w)
	}
	return err
}

func (c *cli) applyImage(ctx context.Context, eng backend, o *quadlet.Object) error {
	var platform string
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.StringVar(&platform, "platform", "", "")
	if err := setAll(fs, o); err != nil {
		return err
	}
	_, err := eng.Image(ctx, o.Name)
	if err == nil && !o.PullAlways || err != nil && (!errors.Is(err, spec.ErrNotFound) || o.PullNever) {
		return err
	}
	_, err = eng.Pull(ctx, o.Name, engine.PullOptions{Platform: platform})
	return err
}

// setAll sets flags, and names the line that asks for one that cannot be.
func setAll(fs *pflag.FlagSet, o *quadlet.Object) error {
	var errs []error
	for _, s := range o.Settings {
		if err := fs.Set(s.Flag, s.Value); err != nil {
			cause := err
			if inner := errors.Unwrap(err); inner != nil { // without pflag's "invalid argument … for …"
				cause = inner
			}
			errs = append(errs, s.From.Problem("%s=: %v", s.From.Key, cause))
		}
	}
	return errors.Join(errs...)
}

// Which files that a description names are read: the unit does not depend on them.
type filesMode bool

const (
	withFiles    filesMode = true
	withoutFiles filesMode = false
)

// describedContainer turns a description into what the engine takes.
func (c *cli) describedContainer(o *quadlet.Object, files filesMode) (engine.CreateOptions, error) {
	if files == withoutFiles {
		o.Settings = slices.DeleteFunc(slices.Clone(o.Settings), func(s quadlet.Setting) bool { return s.Flag == "env-file" })
	}
	at := *c
	at.dir, at.lookup = filepath.Dir(o.File.Path), func(string) (string, bool) { return "", false }
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := newCreateFlags(fs, &at)
	if err := setAll(fs, o); err != nil {
		return engine.CreateOptions{}, err
	}
	f.name = o.Name
	opt, err := f.options(fs, &at, append([]string{o.Image}, o.Args...))
	if err != nil {
		return engine.CreateOptions{}, &quadlet.Problem{Path: o.File.Path, Text: err.Error()}
	}
	opt.Container.Source = &spec.Source{Path: o.File.Path}
	return opt, nil
}

// describedUnits returns the units of what a file describes, by their names.
func (c *cli) describedUnits(set quadlet.Set, f *quadlet.File) (map[string]string, error) {
	o, err := set.Object(f)
	if err != nil {
		return nil, err
	}
	if err := checkReferences(o); err != nil {
		return nil, err
	}
	program, err := c.program()
	if err != nil {
		return nil, err
	}
	units := map[string]string{}
	if f.Kind != quadlet.KindContainer {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		switch f.Kind {
		case quadlet.KindNetwork:
			new(networkCreateFlags).define(fs)
			err = setAll(fs, o)
		case quadlet.KindBuild:
			_, err = buildArgs(o)
		}
		units[f.Unit()] = o.Service("", program)
		return units, err
	}
	opt, err := c.describedContainer(o, withoutFiles)
	if err != nil {
		return nil, err
	}
	settings, _ := c.lookup("CLEAT_CONFIG")
	files, err := engine.DescribedUnits(engine.Options{Root: c.root, RunRoot: c.runRoot, Config: settings}, opt)
	if err != nil {
		return nil, &quadlet.Problem{Path: f.Path, Text: err.Error()}
	}
	for i, u := range files {
		units[u.Name] = u.Text
		if i == 0 {
			units[u.Name] = o.Service(u.Text, program)
		}
	}
	return units, nil
}

// checkReferences refuses names that no image can have.
func checkReferences(o *quadlet.Object) error {
	var errs []error
	for _, at := range o.References {
		if _, err := engine.ParseReference(at.Value); err != nil {
			errs = append(errs, at.Problem("%s=: %v", at.Key, err))
		}
	}
	return errors.Join(errs...)
}

// program says how units call this program.
func (c *cli) program() (quadlet.Program, error) {
	self, err := os.Executable()
	if err != nil {
		return quadlet.Program{}, err
	}
	p := quadlet.Program{Cleat: self}
	if c.root != "" {
		p.Args = append(p.Args, "--root", c.root)
	}
	if c.runRoot != "" {
		p.Args = append(p.Args, "--runroot", c.runRoot)
	}
	return p, nil
}

func newQuadletSweep(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sweep", Short: "Remove containers whose files are gone, unless they run", Args: exactly(0),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		names, err := eng.SweepDescribed(cmd.Context())
		for _, name := range names {
			fmt.Fprintln(c.out, name)
		}
		return err
	}
	return cmd
}
