package main

import (
	"os"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// one returns a service's container.
func (c *cli) one(cmd *cobra.Command, service string, index int) (engine.Container, error) {
	_, list, err := c.containers(cmd.Context(), []string{service})
	if err != nil {
		return engine.Container{}, err
	}
	return compose.One(list, service, index)
}

func newExec(c *cli) *cobra.Command {
	var detach, noTTY, interactive, privileged bool
	var index int
	var user, dir string
	var env []string
	cmd := &cobra.Command{Use: "exec [OPTIONS] SERVICE COMMAND [ARGS...]", Short: "Execute a command in a running container", Args: cobra.MinimumNArgs(2)}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&detach, "detach", "d", false, "Detached mode: Run command in the background")
	fs.StringArrayVarP(&env, "env", "e", nil, "Set environment variables")
	fs.IntVar(&index, "index", 0, "Index of the container if service has multiple replicas")
	fs.BoolVarP(&noTTY, "no-tty", "T", !isTerminal(c.in) || !isTerminal(c.out), "Disable pseudo-TTY allocation")
	fs.BoolVar(&noTTY, "no-TTY", !isTerminal(c.in) || !isTerminal(c.out), "An older name of --no-tty")
	_ = fs.MarkHidden("no-TTY") // defined above
	fs.BoolVarP(&interactive, "interactive", "i", true, "Keep STDIN open even if not attached")
	fs.BoolP("tty", "t", true, "Allocate a pseudo-TTY (the default)")
	_ = fs.MarkHidden("tty")         // defined above; Docker hides it too
	_ = fs.MarkHidden("interactive") // likewise
	fs.BoolVar(&privileged, "privileged", false, "Give extended privileges to the process")
	fs.StringVarP(&user, "user", "u", "", "Run the command as this user")
	fs.StringVarP(&dir, "workdir", "w", "", "Path to workdir directory for this command")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ct, err := c.one(cmd, args[0], index)
		if err != nil {
			return err
		}
		argv := []string{"exec"}
		flag := func(on bool, words ...string) {
			if on {
				argv = append(argv, words...)
			}
		}
		flag(detach, "--detach")
		flag(interactive && !detach, "--interactive")
		flag(!noTTY && !detach, "--tty")
		flag(privileged, "--privileged")
		flag(user != "", "--user", user)
		flag(dir != "", "--workdir", dir)
		for _, e := range env {
			flag(true, "--env", e)
		}
		return c.become(append(append(argv, ct.ID), args[1:]...)...)
	}
	return cmd
}
