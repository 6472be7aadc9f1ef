package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/internal/contexts"
)

// remoteCommand is a command as another machine gets it. The whole command line
// works there, so it is run there: only what means files of this machine is
// carried over, or refused.
type remoteCommand struct {
	host contexts.Host
	args []string // of cleat there

	stdin  string // file of this machine to read; "" is the caller's stdin
	stdout string // file of this machine to write; "" is the caller's stdout
	reads  bool   // it reads what the caller writes
	pack   []string
}

// runsElsewhere reports whether a command concerns the machine that is worked on,
// and not the caller's side alone.
func runsElsewhere(cmd *cobra.Command) bool {
	return cmd.Annotations[placeKey] != placeAnywhere && !isCompletion(cmd) || cmd.Name() == "version"
}

// enterRemote runs cmd on another machine, if one is asked for.
func (c *cli) enterRemote(cmd *cobra.Command) error {
	if isRequest(cmd) {
		if h, err := c.target(); err != nil || h.Remote() {
			return exitCode(1) // words of this machine would be wrong
		}
		return nil
	}
	reason, refused := refusedElsewhere[verbPath(cmd)]
	if !refused && !runsElsewhere(cmd) {
		return nil
	}
	h, err := c.target()
	if err != nil || !h.Remote() {
		return err
	}
	if refused {
		return fmt.Errorf("'%s' %s", cmd.CommandPath(), reason)
	}
	r, err := c.forward(cmd, h)
	if err != nil {
		return err
	}
	if err := c.there(cmd.Context(), r); err != nil {
		return err
	}
	return exitCode(0) // it is done, and must not be done here as well
}

// verbPath is the name of a command without that of the program.
func verbPath(cmd *cobra.Command) string {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	return path
}

// shell is the command line for the shell there. Whoever is not root there has to be
// somebody who may become it.
func (r remoteCommand) shell() string {
	words := []string{`exec $([ "$(id -u)" = 0 ] || echo sudo) cleat`}
	for _, a := range r.args {
		words = append(words, contexts.Quote(a))
	}
	return strings.Join(words, " ")
}

// runThere becomes ssh, unless there are files to be read and written meanwhile.
func (c *cli) runThere(ctx context.Context, r remoteCommand) error {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return hinted(fmt.Errorf("cannot reach %s: ssh is not installed", r.host), "install the package openssh-client")
	}
	_, inTerminal := terminalFd(c.in)
	_, outTerminal := terminalFd(c.out)
	_, errTerminal := terminalFd(c.err)
	streamed := r.stdin != "" || r.stdout != "" || r.pack != nil
	args := r.host.SSH(r.shell(), inTerminal && outTerminal && errTerminal && !streamed, r.reads || inTerminal || streamed)
	c.close()
	if !streamed {
		return fmt.Errorf("start ssh: %w", syscall.Exec(path, args, os.Environ()))
	}
	c.releaseSignals() // ssh has the terminal's as well
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	switch {
	case r.pack != nil:
		return c.packThere(ctx, cmd, r.pack)
	case r.stdin != "":
		f, err := os.Open(r.stdin)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read
		cmd.Stdin = f
	}
	if r.stdout == "" {
		return ended(cmd.Run())
	}
	return c.withOutput(r.stdout, func(w io.Writer) error {
		cmd.Stdout = w
		return ended(cmd.Run())
	})
}

// ended turns how a command ended into the code of this one.
func ended(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitCode(128 + int(status.Signal()))
		}
		return exitCode(exit.ExitCode())
	}
	return err
}

// packThere sends what another program packs.
func (c *cli) packThere(ctx context.Context, ssh *exec.Cmd, args []string) error {
	pack := exec.CommandContext(ctx, siblingPath(args[0]), args[1:]...)
	pack.Stdin, pack.Stderr = c.in, c.err
	out, err := pack.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pack the build context: %w", err)
	}
	ssh.Stdin = out
	if err := pack.Start(); err != nil {
		return fmt.Errorf("pack the build context: %w", err)
	}
	if err := ssh.Start(); err != nil {
		_ = out.Close() // ends the other one
		return errors.Join(fmt.Errorf("start ssh: %w", err), pack.Wait())
	}
	_ = out.Close() // ssh has it
	packErr := pack.Wait()
	if packErr != nil {
		_ = ssh.Process.Kill() // what it has is not all
	}
	sshErr := ssh.Wait()
	return ended(cmp.Or(packErr, sshErr))
}
