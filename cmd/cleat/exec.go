package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/moby/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

type executor interface {
	Exec(ctx context.Context, ref string, opt engine.ExecOptions) (*engine.Exec, error)
}

// execFlags are the flags of exec.
type execFlags struct {
	opt         engine.ExecOptions
	interactive bool
	env         *opts.List[string]
	envFiles    []string
	keys        string
}

func newExec(c *cli) *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use: "exec [OPTIONS] CONTAINER COMMAND [ARG...]", Short: "Execute a command in a running container",
		Annotations: also("container exec", "exec"),
		Args:        atLeast(2), ValidArgsFunction: completeFirst(completeContainers(c, isRunning)),
	}
	f.define(cmd.Flags(), c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, keys, err := f.options(c, args)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.exec(cmd.Context(), eng, args[0], opt, keys)
	}
	return cmd
}

func (f *execFlags) define(fs *pflag.FlagSet, c *cli) {
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.opt.Detach, "detach", "d", false, "Detached mode: run command in the background")
	fs.StringVar(&f.keys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.env = opts.NewList("", opts.EnvParser(c.lookup))
	fs.VarP(f.env, "env", "e", "Set environment variables")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "Read in a file of environment variables")
	asList(fs.Lookup("env-file"))
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	fs.BoolVar(&f.opt.Privileged, "privileged", false, "Give extended privileges to the command")
	fs.BoolVarP(&f.opt.TTY, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.StringVarP(&f.opt.User, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	fs.StringVarP(&f.opt.Dir, "workdir", "w", "", "Working directory inside the container")
}

func (f *execFlags) options(c *cli, args []string) (opt engine.ExecOptions, keys []byte, err error) {
	opt = f.opt
	if opt.Env, err = environment(f.envFiles, f.env.Values, c.lookup); err != nil {
		return opt, nil, err
	}
	if keys, err = detachKeys(f.keys); err != nil {
		return opt, nil, err
	}
	opt.Argv, opt.Stdin = args[1:], f.interactive && !opt.Detach
	if opt.TTY {
		opt.Height, opt.Width = windowSize(c.out)
	}
	return opt, keys, needTTY(c, opt.TTY, opt.Stdin)
}

// exec runs a command in a container and ends with its exit code.
func (c *cli) exec(ctx context.Context, eng executor, ref string, opt engine.ExecOptions, keys []byte) error {
	p, err := eng.Exec(ctx, ref, opt)
	if err != nil {
		return execError(err, opt.Detach)
	}
	defer p.Close()
	if opt.Detach {
		return nil
	}
	restore, err := rawTerminal(c, opt.TTY, opt.Stdin)
	if err != nil {
		return err
	}
	defer restore()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if opt.TTY {
		go watchWindow(ctx, c, func(height, width uint16) {
			_ = p.Resize(height, width) // the command has just ended
		})
	}
	if p.Stdin != nil {
		go c.feedExec(p.Stdin, opt.TTY, keys, func() { cancel(errDetached) })
	}
	code, err := c.drainExec(ctx, p)
	if errors.Is(context.Cause(ctx), errDetached) {
		return nil
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// execError gives a command that could not be executed Docker's exit codes, if
// anybody waits for it.
func execError(err error, detached bool) error {
	if _, ok := errors.AsType[*engine.StartError](err); ok && !detached {
		return codedError{err, startCode(err)}
	}
	return err
}

// feedExec passes the caller's input to the command, and its end.
func (c *cli) feedExec(dst io.WriteCloser, tty bool, keys []byte, detached func()) {
	src := c.in
	if _, isTerminal := terminalFd(c.in); tty && isTerminal {
		src = term.NewEscapeProxy(c.in, keys)
	}
	_, err := io.Copy(dst, src)
	if _, ok := errors.AsType[term.EscapeError](err); ok {
		detached()
		return
	}
	if !tty { // closing a terminal would end the output as well
		_ = dst.Close() // the command may have ended, or have closed its input
	}
}

// drainExec shows the output of a command until it has ended.
func (c *cli) drainExec(ctx context.Context, p *engine.Exec) (int, error) {
	shown := make(chan error, 2)
	show := func(dst io.Writer, src io.Reader) {
		if src == nil {
			shown <- nil
			return
		}
		_, err := io.Copy(dst, src)
		if errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrClosed) {
			err = nil // how a terminal ends: see pty(7)
		}
		shown <- err
	}
	go show(c.out, p.Stdout)
	go show(c.err, p.Stderr)
	for range 2 {
		select {
		case err := <-shown:
			if err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return p.Wait(ctx)
}
