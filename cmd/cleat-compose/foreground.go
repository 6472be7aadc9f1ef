package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// foregroundFlags say what "up" in the foreground shows, and what ends it.
type foregroundFlags struct {
	abort, abortOnFailure bool
	exitFrom              string
	attach, noAttach      []string
	attachDependencies    bool
	watch                 bool
	logs                  logFlags
}

func (f *foregroundFlags) define(fs *pflag.FlagSet) {
	fs.BoolVar(&f.abort, "abort-on-container-exit", false, "Stops all containers if any container was stopped")
	fs.BoolVar(&f.abortOnFailure, "abort-on-container-failure", false, "Stops all containers if any container exited with failure")
	fs.StringVar(&f.exitFrom, "exit-code-from", "", "Return the exit code of the selected service container. Implies --abort-on-container-exit")
	fs.StringArrayVar(&f.attach, "attach", nil, "Restrict attaching to the specified services")
	fs.StringArrayVar(&f.noAttach, "no-attach", nil, "Do not attach (stream logs) to the specified services")
	fs.BoolVar(&f.attachDependencies, "attach-dependencies", false, "Automatically attach to log output of dependent services")
	fs.BoolVarP(&f.watch, "watch", "w", false, "Watch source code and rebuild/refresh containers when files are updated.")
	fs.BoolVar(&f.logs.noColor, "no-color", false, "Produce monochrome output")
	fs.BoolVar(&f.logs.noPrefix, "no-log-prefix", false, "Don't print prefix in logs")
	fs.BoolVar(&f.logs.timestamps, "timestamps", false, "Show timestamps")
	refuseBool(fs, "menu", "is not supported: nothing is read from the keyboard")
}

// settle refuses what does not go together. Detached says that there is no
// foreground.
func (f *foregroundFlags) settle(detached bool) error {
	f.abort = f.abort || f.exitFrom != "" && !f.abortOnFailure
	switch {
	case f.abort && f.abortOnFailure:
		return errors.New("--abort-on-container-exit and --abort-on-container-failure are incompatible")
	case detached && (f.abort || f.abortOnFailure):
		return errors.New("--abort-on-container-exit, --abort-on-container-failure and --exit-code-from need the foreground: they do not go with --detach and --wait")
	case detached && (len(f.attach) > 0 || len(f.noAttach) > 0 || f.attachDependencies):
		return errors.New("--attach, --no-attach and --attach-dependencies need the foreground: they do not go with --detach and --wait")
	case detached && f.watch:
		return errors.New("--watch needs the foreground: it does not go with --detach and --wait")
	}
	return nil
}

// check refuses names that are not those of active services.
func (f *foregroundFlags) check(p *compose.Project) error {
	for flag, names := range map[string][]string{"--attach": f.attach, "--no-attach": f.noAttach, "--exit-code-from": {f.exitFrom}} {
		for _, name := range names {
			if name != "" && p.ImageOf(name) == "" {
				return fmt.Errorf("%s: no such service: %q: %w", flag, name, spec.ErrNotFound)
			}
		}
	}
	return nil
}

// shows reports whether the output of a service is shown, of which asked were
// given on the command line.
func (f *foregroundFlags) shows(p *compose.Project, service string, asked []string) bool {
	switch {
	case slices.Contains(f.noAttach, service):
		return false
	case len(f.attach) > 0:
		return slices.Contains(f.attach, service)
	case len(asked) > 0 && !f.attachDependencies && !slices.Contains(asked, service):
		return false
	}
	return p.Attached(service)
}

// foreground is a project whose output is shown, until all of it has ended.
type foreground struct {
	*foregroundFlags
	c     *cli
	eng   *engine.Engine
	p     *compose.Project
	asked []string // services given on the command line
	stop  engine.StopOptions

	mu    sync.Mutex
	print *logPrinter
	seen  map[string]time.Time // containers, by id: until when their output is shown; zero while they are looked after
	all   sync.WaitGroup       // one for each of those
	ended chan ended           // of those, as they end
}

// ended is the end of a container.
type ended struct {
	service string
	code    int
}

// follow shows the output of a project until all of it has ended. An interruption
// stops the project, and so does the end of a container where that was asked for;
// what is written until then is shown too.
func (c *cli) follow(ctx context.Context, eng *engine.Engine, p *compose.Project, f *upFlags, asked []string, since time.Time) error {
	fg := &foreground{
		foregroundFlags: &f.foregroundFlags, c: c, eng: eng, p: p, asked: asked, stop: f.opt.Stop,
		print: &logPrinter{out: c.out, timestamps: f.logs.timestamps}, seen: map[string]time.Time{}, ended: make(chan ended),
	}
	output, silence := context.WithCancel(context.WithoutCancel(ctx))
	defer silence()
	if err := fg.adopt(output, since); err != nil {
		return err
	}
	var watch chan error // nil, which never tells, without --watch
	watching, enough := context.WithCancel(ctx)
	defer enough()
	if f.watch {
		watch = make(chan error, 1)
		go func() {
			defer close(watch)
			watch <- c.watch(watching, eng, p, watchOptions{quiet: f.quietBuild, prune: true, changed: func() error { return fg.adopt(output, time.Time{}) }})
		}()
	}
	code, err := fg.wait(ctx, watch)
	if enough(); f.watch && err == nil {
		for range watch {
			continue // it was interrupted, and starts nothing any more once this ends
		}
	}
	if ctx.Err() != nil || code != nil || err != nil {
		if stopErr := fg.end(context.WithoutCancel(ctx)); stopErr != nil {
			return errors.Join(err, stopErr)
		}
		fg.drain()
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && code != nil:
		return fg.result(ctx, *code)
	}
	return err
}

// containers returns those of the project.
func (fg *foreground) containers(ctx context.Context) ([]engine.Container, error) {
	all, err := compose.Containers(ctx, fg.eng, fg.p.Name())
	if err != nil {
		return nil, err
	}
	return compose.Pick(all, existing(all, fg.p.Services()))
}

// adopt looks after the containers of the project that it does not look after yet.
// Of those that it has never seen, it shows what they have written since a time.
func (fg *foreground) adopt(ctx context.Context, since time.Time) error {
	list, err := fg.containers(ctx)
	if err != nil {
		return err
	}
	shown := slices.DeleteFunc(slices.Clone(list), func(ct engine.Container) bool { return !fg.shows(fg.p, compose.ServiceOf(ct), fg.asked) })
	prefixes := fg.c.prefixes(shown, &fg.logs)
	fg.mu.Lock()
	defer fg.mu.Unlock()
	for _, ct := range list {
		from, seen := fg.seen[ct.ID]
		switch {
		case seen && from.IsZero(): // at it
			continue
		case !seen:
			from = since
		}
		fg.seen[ct.ID] = time.Time{}
		i := slices.IndexFunc(shown, func(s engine.Container) bool { return s.ID == ct.ID })
		fg.all.Go(func() {
			if i < 0 {
				fg.lookAfter(ctx, ct, "", nil)
				return
			}
			fg.lookAfter(ctx, ct, prefixes[i], &from)
		})
	}
	return nil
}

// lookAfter waits for the end of one container and tells of it. From is the time
// since which its output is shown, nil to show none.
func (fg *foreground) lookAfter(ctx context.Context, ct engine.Container, prefix string, from *time.Time) {
	for {
		if from != nil {
			from = new(fg.show(ctx, ct, prefix, *from))
		} else if _, err := fg.eng.Wait(ctx, ct.ID, engine.WaitNotRunning); err != nil {
			return // gone, or nobody wants to know any more
		}
		code, over := fg.over(ctx, ct, from)
		if !over {
			continue // it has been restarted under our eyes
		}
		if from != nil {
			fg.print.say(fmt.Sprintf("%s exited with code %d", strings.TrimPrefix(ct.Name, compose.ProjectOf(ct)+"-"), code))
		}
		select {
		case fg.ended <- ended{compose.ServiceOf(ct), code}:
		case <-ctx.Done():
		}
		return
	}
}

// show prints the output of one container until its end, and returns the time after
// the last line.
func (fg *foreground) show(ctx context.Context, ct engine.Container, prefix string, from time.Time) time.Time {
	for line, err := range fg.eng.Logs(ctx, ct.ID, engine.LogOptions{Follow: true, Tail: -1, Since: from}) {
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, spec.ErrNotFound) { // a container can be removed under our eyes
				fg.c.warn(engine.Sentence(err) + ", ignoring")
			}
			break
		}
		fg.print.print(prefix, line)
		from = line.Time.Add(time.Microsecond) // the journal's clock has no finer ticks
	}
	return from
}

// over reports whether a container has ended, and then lets adopt take it again.
func (fg *foreground) over(ctx context.Context, ct engine.Container, from *time.Time) (code int, over bool) {
	fg.mu.Lock()
	defer fg.mu.Unlock()
	now, err := fg.eng.Get(ctx, ct.ID)
	if err == nil && ctx.Err() == nil && (now.Status == engine.StatusRunning || now.Status == engine.StatusPaused) {
		return 0, false
	}
	fg.seen[ct.ID] = time.Now()
	if from != nil {
		fg.seen[ct.ID] = *from
	}
	return now.Run.ExitCode, true
}

// wait returns once nothing runs any more, or the code of a container whose end
// is that of the project.
func (fg *foreground) wait(ctx context.Context, watch <-chan error) (code *int, err error) {
	var over chan struct{} // nil, which never tells, with --watch: what has ended may come back
	if !fg.watch {
		over = make(chan struct{})
		go func() { fg.all.Wait(); close(over) }()
	}
	for {
		select {
		case e := <-fg.ended:
			if fg.abort || fg.abortOnFailure && e.code != 0 {
				return &e.code, nil
			}
		case <-over:
			return nil, nil
		case err := <-watch:
			return nil, err
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// drain waits until all output of what has ended is shown.
func (fg *foreground) drain() {
	over := make(chan struct{})
	go func() { fg.all.Wait(); close(over) }()
	for {
		select {
		case <-fg.ended:
		case <-over:
			return
		}
	}
}

// end stops the project.
func (fg *foreground) end(ctx context.Context) error {
	list, err := fg.containers(ctx)
	if err != nil {
		return err
	}
	return fg.c.execute(ctx, compose.PlanStop(fg.p.Name(), list, fg.stop))
}

// result is the end of the command, of the first container or of the service whose
// code was asked for.
func (fg *foreground) result(ctx context.Context, code int) error {
	if fg.exitFrom != "" {
		all, err := compose.Containers(ctx, fg.eng, fg.p.Name())
		if err != nil {
			return err
		}
		ct, err := compose.One(all, fg.exitFrom, 0)
		if err != nil {
			return err
		}
		code = ct.Run.ExitCode
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}
