package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
)

// Exec is a further command that runs in a container.
type Exec struct {
	Stdin  io.WriteCloser // nil unless attached
	Stdout io.Reader      // nil if detached
	Stderr io.Reader      // nil if detached, or on a terminal

	proc  *sandbox.Process
	files []*os.File // our ends, closed with the Exec
	ended func(code int)
}

// Exec starts a command in a running container, with the sandbox of its main
// process. If the command cannot be executed, the error is a *StartError. The
// caller reads the streams, waits, and closes the Exec; without a terminal the
// command gets SIGPIPE when it writes after that.
func (e *Engine) Exec(ctx context.Context, ref string, opt ExecOptions) (*Exec, error) {
	c, err := e.execTarget(ref)
	if err != nil {
		return nil, err
	}
	if len(opt.Argv) == 0 {
		return nil, invalid("no command given")
	}
	tell := e.execTeller(c, newID(), opt.Argv)
	tell("exec_create")
	return e.startExec(ctx, c, opt, tell)
}

// execTarget returns the container that ref means, if a command can be started in
// it.
func (e *Engine) execTarget(ref string) (spec.Container, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return c, err
	}
	if _, err := e.state.LoadLive(c.ID); isNotFound(err) {
		return c, conflict("container %q is not running", c.Name)
	} else if err != nil {
		return c, err
	}
	if frozen(c) {
		return c, conflict("container %q is paused: unpause it first", c.Name)
	}
	return c, nil
}

// startExec starts a command in c. Tell writes its events.
func (e *Engine) startExec(ctx context.Context, c spec.Container, opt ExecOptions, tell func(string, ...string)) (_ *Exec, err error) {
	live, err := e.state.LoadLive(c.ID)
	if isNotFound(err) {
		return nil, conflict("container %q is not running", c.Name)
	}
	if err != nil {
		return nil, err
	}
	x, stdio, err := execStreams(opt)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range stdio {
			_ = f.Close() // the command's ends; nil for a terminal
		}
		if err != nil {
			x.Close()
		}
	}()
	x.proc, err = sandbox.Exec(ctx, sandbox.ExecRequest{
		PID: live.PID, Unit: c.UnitName(), Dir: e.state.Dir(c.ID), Helper: filepath.Join(e.opt.Libexec, initProgram),
		Argv: opt.Argv, Env: opt.Env, WorkDir: opt.Dir, User: opt.User, Privileged: opt.Privileged,
		TTY: opt.TTY, Height: opt.Height, Width: opt.Width, Stdio: stdio,
		Warn: func(s string) { e.warnf("%s", s) },
	})
	if err != nil {
		return nil, explainExec(c, err)
	}
	tell("exec_start")
	x.ended = func(code int) { tell("exec_die", "exitCode", strconv.Itoa(code)) }
	if opt.TTY {
		x.Stdout = x.proc.Master
		x.files = append(x.files, x.proc.Master)
		if opt.Stdin {
			x.Stdin = x.proc.Master
		}
	}
	return x, nil
}

func explainExec(c spec.Container, err error) error {
	if cmd, ok := errors.AsType[*sandbox.CommandError](err); ok {
		code, _ := sandbox.UserExitCode(cmd.Exit)
		return &StartError{Name: c.Name, Code: code, Message: cmd.Error()}
	}
	err = fmt.Errorf("exec in %q: %w", c.Name, err)
	if errors.Is(err, spec.ErrConflict) || errors.Is(err, spec.ErrNotFound) || errors.Is(err, context.Canceled) {
		return err // of the container, not of the command
	}
	return &StartError{Name: c.Name, Code: 126, Message: Sentence(err)}
}

// execTeller returns what writes the events of one command. Docker's have the
// command in the name of the action, but for the last.
func (e *Engine) execTeller(c spec.Container, id string, argv []string) func(action string, more ...string) {
	return func(action string, more ...string) {
		if action != "exec_die" {
			action += ": " + argv[0] + " " + strings.Join(argv[1:], " ")
		}
		e.tellContainer(c, action, append(more, "execID", id)...)
	}
}

// execStreams makes the pipes of a command without a terminal: our ends in the
// Exec, the command's ends to be passed on.
func execStreams(opt ExecOptions) (x *Exec, stdio [3]*os.File, err error) {
	x = &Exec{}
	if opt.TTY {
		return x, stdio, nil
	}
	defer func() {
		if err != nil {
			x.Close()
			for _, f := range stdio {
				_ = f.Close()
			}
		}
	}()
	for i, attached := range []bool{opt.Stdin && !opt.Detach, !opt.Detach, !opt.Detach} {
		if !attached {
			if stdio[i], err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, stdio, err
			}
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, stdio, fmt.Errorf("make pipe: %w", err)
		}
		ours := r
		if stdio[i] = w; i == 0 {
			ours, stdio[i] = w, r
		}
		x.files = append(x.files, ours)
		switch i {
		case 0:
			x.Stdin = ours
		case 1:
			x.Stdout = ours
		case 2:
			x.Stderr = ours
		}
	}
	return x, stdio, nil
}

// Wait returns the command's exit code, 128+n if signal n ended it.
func (x *Exec) Wait(ctx context.Context) (int, error) {
	code, err := x.proc.Wait(ctx)
	if err == nil && x.ended != nil {
		x.ended(code)
		x.ended = nil
	}
	return code, err
}

// Signal sends signal number sig to the command.
func (x *Exec) Signal(sig int) error { return x.proc.Signal(syscall.Signal(sig)) }

// Resize sets the window size of the command's terminal, in characters.
func (x *Exec) Resize(height, width uint16) error { return x.proc.Resize(height, width) }

// Close releases the streams. A detached command goes on.
func (x *Exec) Close() {
	for _, f := range x.files {
		_ = f.Close()
	}
	x.files = nil
	if x.proc != nil {
		x.proc.Close()
	}
}
