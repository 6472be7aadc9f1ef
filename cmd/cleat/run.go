package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

// runner is what a foreground run needs beyond creating.
type runner interface {
	creator
	starter
	attacher
	ender
	killer
}

// launcher brings up a container that was just made.
type launcher interface {
	Launch(ctx context.Context, ref string) error
}

// runFlags are those that run has beyond those of create.
type runFlags struct {
	*createFlags
	detach   bool
	sigProxy bool
	keys     string
}

func newRun(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create and run a new container from an image",
		Annotations: also("container run", "run"),
		Args:        atLeast(1), ValidArgsFunction: completeImages(c),
	}
	f := &runFlags{createFlags: newCreateFlags(cmd.Flags(), c)}
	fs := cmd.Flags()
	fs.BoolVarP(&f.detach, "detach", "d", false, "Run container in background and print container ID")
	fs.BoolVar(&f.sigProxy, "sig-proxy", true, "Proxy received signals to the process")
	fs.StringVar(&f.keys, "detach-keys", "", "Override the key sequence for detaching a container")
	completeFlags(cmd, createCompletions(c))
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.run(cmd, f, args) }
	return cmd
}

func (c *cli) run(cmd *cobra.Command, f *runFlags, args []string) error {
	if f.detach && len(f.attach.Values) > 0 {
		return errors.New("conflicting options: cannot specify both --attach and --detach")
	}
	st := f.streams(f.detach)
	if err := needTTY(c, f.tty, st.stdin); err != nil {
		return err
	}
	var err error
	if st.keys, err = detachKeys(f.keys); err != nil {
		return ownFailure(err)
	}
	opt, err := f.options(cmd.Flags(), c, args)
	if err != nil {
		return ownFailure(err)
	}
	if st.any() && opt.Container.Activated() {
		return ownFailure(errors.New("conflicting options: with --activate nothing runs yet that could be attached to: add --detach (-d)"))
	}
	opt.Container.Process.StdinOnce = f.interactive && st.stdin
	eng, err := c.engine()
	if err != nil {
		return ownFailure(err)
	}
	made, err := c.create(cmd.Context(), eng, f.createFlags, opt)
	if err != nil {
		return ownFailure(err)
	}
	if !st.any() {
		if err := eng.Launch(cmd.Context(), made.ID); err != nil {
			return ownFailure(err)
		}
		fmt.Fprintln(c.out, made.ID)
		return nil
	}
	return ownFailure(c.foreground(cmd.Context(), eng, made, st, f.sigProxy))
}

// foreground starts a container that the caller is attached to, and ends with
// its exit code.
func (c *cli) foreground(ctx context.Context, eng runner, made engine.Container, st streams, sigProxy bool) error {
	s, err := eng.Attach(ctx, made.ID, engine.AttachOptions{Stdin: st.stdin, Stdout: st.stdout, Stderr: st.stderr, Owner: true})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // it is read to its end, or the user left it
	if sigProxy {
		// A signal no longer ends this process, but the container.
		ctx = context.WithoutCancel(ctx)
		defer c.proxy(ctx, eng, made.ID)()
	}
	if err := eng.Start(ctx, made.ID); err != nil {
		return err
	}
	if !st.output() {
		fmt.Fprintln(c.out, made.ID)
	}
	err = c.streamWithSize(ctx, eng, made.ID, s, st)
	if errors.Is(err, errDetached) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.output() {
		return nil
	}
	code, err := eng.WaitEnd(ctx, made)
	return exitWith(code, err)
}

// ender waits for the end of a run that this command has started.
type ender interface {
	WaitEnd(ctx context.Context, c engine.Container) (int, error)
}

// exitWith turns the end of a wait into this program's own.
func exitWith(code int, err error) error {
	if err == nil && code != 0 {
		return exitCode(code)
	}
	return err
}

// streamWithSize is stream, and keeps the size of the container's terminal, if
// it has one, that of the caller's.
func (c *cli) streamWithSize(ctx context.Context, eng attacher, id string, s session, st streams) error {
	if !st.tty {
		return c.stream(ctx, s, st)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watchWindow(ctx, c, func(height, width uint16) {
		_ = eng.ResizeTTY(ctx, id, height, width) // the run has just ended
	})
	return c.stream(ctx, s, st)
}
