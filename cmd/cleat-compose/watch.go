package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/treewatch"
)

// watchQuiet is how long nothing must have changed before containers are brought
// up to date: editors and version control write many files at a time.
const watchQuiet = 300 * time.Millisecond

// watchOptions say how files are watched.
type watchOptions struct {
	quiet   bool         // no output of builds
	prune   bool         // remove the image that a rebuilt one takes the name of
	changed func() error // after containers were replaced or restarted; nil is nothing
}

func newWatch(c *cli) *cobra.Command {
	var opt watchOptions
	var noUp bool
	cmd := &cobra.Command{Use: "watch [SERVICE...]", Short: "Watch build context for service and rebuild/refresh containers when files are updated"}
	fs := cmd.Flags()
	fs.BoolVar(&noUp, "no-up", false, "Do not build & start services before watching")
	fs.BoolVar(&opt.prune, "prune", true, "Prune dangling images on rebuild")
	fs.BoolVar(&opt.quiet, "quiet", false, "hide build output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		whole, err := c.project(ctx)
		if err != nil {
			return err
		}
		p, err := whole.Select(args, compose.SelectOptions{})
		if err != nil {
			return err
		}
		if _, err := p.Watched(); err != nil { // before anything is started
			return err
		}
		if !noUp {
			up := &upFlags{detach: true, build: true, quietBuild: opt.quiet}
			up.opt.Pull = "policy"
			if err := c.up(ctx, up, args); err != nil || c.dryRun {
				return err
			}
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.watch(ctx, eng, p, opt)
	}
	return cmd
}

// watch keeps containers up to date with files, until it is interrupted.
func (c *cli) watch(ctx context.Context, eng *engine.Engine, p *compose.Project, opt watchOptions) error {
	watched, err := p.Watched()
	if err != nil {
		return err
	}
	w, err := treewatch.New(watched.Roots, watched.Skip)
	if err != nil {
		return err
	}
	defer w.Close()
	first, err := watched.Initial()
	if err != nil {
		return err
	}
	if err := c.refresh(ctx, eng, p, first, opt); err != nil {
		return err
	}
	fmt.Fprintln(c.err, "Watch enabled")
	for {
		changed, err := w.Next(ctx, watchQuiet)
		if err != nil {
			return err
		}
		err = c.refresh(ctx, eng, p, watched.Refreshes(changed), opt)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // a mistake in a file is what one is about to mend
			c.warn(engine.Sentence(err))
		}
	}
}

// refresh does what changes ask for.
func (c *cli) refresh(ctx context.Context, eng *engine.Engine, p *compose.Project, list []compose.Refresh, opt watchOptions) error {
	if len(list) == 0 {
		return nil
	}
	all, err := compose.Containers(ctx, eng, p.Name())
	if err != nil {
		return err
	}
	var errs []error
	var rebuild []string
	restarted := false
	runner := compose.Runner{Engine: eng, Limit: c.parallel, Tell: c.tell}
	for _, r := range list {
		if r.Rebuild {
			rebuild = append(rebuild, r.Service)
			continue
		}
		if len(r.Sync) > 0 {
			fmt.Fprintf(c.err, "Syncing service %q after %d changes were detected\n", r.Service, len(r.Sync))
		}
		errs = append(errs, runner.Sync(ctx, r, all))
		restarted = restarted || r.Restart
	}
	if len(rebuild) > 0 {
		errs = append(errs, c.rebuild(ctx, eng, p, rebuild, opt))
	}
	if opt.changed != nil && (restarted || len(rebuild) > 0) {
		errs = append(errs, opt.changed())
	}
	return errors.Join(errs...)
}

// rebuild builds the images of services anew and replaces their containers, and no
// others.
func (c *cli) rebuild(ctx context.Context, eng *engine.Engine, p *compose.Project, services []string, opt watchOptions) error {
	fmt.Fprintf(c.err, "Rebuilding service(s) %q after changes were detected...\n", services)
	before, err := compose.ReadState(ctx, eng, p.Name(), p)
	if err != nil {
		return err
	}
	up := &upFlags{detach: true, noDeps: true, build: true, quietBuild: opt.quiet}
	up.opt.Pull, up.opt.IgnoreOrphans = "policy", true
	if err := c.up(ctx, up, services); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "service(s) %q successfully built\n", services)
	if opt.prune {
		c.pruneReplaced(ctx, eng, p, services, before)
	}
	return nil
}

// pruneReplaced removes the images that have lost their names to rebuilt ones,
// unless something uses them.
func (c *cli) pruneReplaced(ctx context.Context, eng *engine.Engine, p *compose.Project, services []string, before *compose.State) {
	for _, s := range services {
		old := before.Images[p.ImageOf(s)]
		if old == "" {
			continue
		}
		if img, err := eng.InspectImage(ctx, old); err == nil && len(img.RepoTags) == 0 {
			_, _ = eng.RemoveImage(ctx, old, engine.RemoveImageOptions{}) // it may be in use
		}
	}
}
