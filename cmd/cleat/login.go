package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/term"
	"github.com/spf13/cobra"
)

type loginer interface {
	Login(ctx context.Context, server, user, password string) error
	Logout(ctx context.Context, server string) (bool, error)
}

// loginFlags are the flags of login.
type loginFlags struct {
	user, password string
	passwordStdin  bool
}

func newLogin(c *cli) *cobra.Command {
	f := &loginFlags{}
	cmd := &cobra.Command{
		Use: "login [OPTIONS] [SERVER]", Short: "Authenticate to a registry",
		Long: "Defaults to Docker Hub if no server is specified.",
		Args: between(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&f.password, "password", "p", "", "Password or Personal Access Token (PAT)")
	cmd.Flags().BoolVar(&f.passwordStdin, "password-stdin", false, "Take the Password or Personal Access Token (PAT) from stdin")
	cmd.Flags().StringVarP(&f.user, "username", "u", "", "Username")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		user, password, err := c.credentials(cmd, f)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.login(cmd.Context(), eng, optional(args), user, password)
	}
	return cmd
}

func (c *cli) login(ctx context.Context, eng loginer, server, user, password string) error {
	if err := eng.Login(ctx, server, user, password); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "Login Succeeded")
	return nil
}

func newLogout(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "logout [SERVER]", Short: "Log out from a registry",
		Long: "If no server is specified, it is Docker Hub.",
		Args: between(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			eng, err := c.engine()
			if err != nil {
				return err
			}
			return c.logout(cmd.Context(), eng, optional(args))
		},
	}
}

func (c *cli) logout(ctx context.Context, eng loginer, server string) error {
	if _, err := eng.Logout(ctx, server); err != nil { // it need not have been logged in to
		return err
	}
	if server == "" {
		server = "https://index.docker.io/v1/" // Docker's name for its Hub, also in its configuration
	}
	fmt.Fprintf(c.out, "Removing login credentials for %s\n", server)
	return nil
}

// optional returns the first argument, "" without one.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// credentials takes name and password from the flags, from stdin, or from the
// user at a terminal.
func (c *cli) credentials(cmd *cobra.Command, f *loginFlags) (user, password string, err error) {
	if f.passwordStdin {
		switch {
		case f.password != "":
			return "", "", errors.New("conflicting options: cannot specify both --password and --password-stdin")
		case f.user == "":
			return "", "", errors.New("the --password-stdin option requires --username to be set")
		}
		text, err := io.ReadAll(io.LimitReader(c.in, 1<<20))
		if err != nil {
			return "", "", fmt.Errorf("read password: %w", err)
		}
		return f.user, strings.TrimRight(string(text), "\r\n"), nil
	}
	if cmd.Flags().Changed("password") {
		fmt.Fprintln(c.err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	fd, isTerminal := terminalFd(c.in)
	if (f.user == "" || f.password == "") && !isTerminal {
		return "", "", errors.New("cannot perform an interactive login from a non TTY device")
	}
	user, password = f.user, f.password
	lines := bufio.NewReader(c.in)
	if user == "" {
		fmt.Fprint(c.out, "Username: ")
		if user, err = readLine(lines); err != nil {
			return "", "", err
		}
	}
	if password == "" {
		fmt.Fprint(c.out, "Password: ")
		password, err = readHidden(fd, lines)
		fmt.Fprintln(c.out)
	}
	return user, password, err
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	line = strings.TrimSpace(line)
	if err != nil && line == "" {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if line == "" {
		return "", errors.New("the answer is empty")
	}
	return line, nil
}

// readHidden reads a line that the terminal does not show.
func readHidden(fd uintptr, r *bufio.Reader) (string, error) {
	before, err := term.SaveState(fd)
	if err != nil {
		return "", fmt.Errorf("read the terminal's settings: %w", err)
	}
	defer func() { _ = term.RestoreTerminal(fd, before) }() // nothing is left to do about it
	if err := term.DisableEcho(fd, before); err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	return readLine(r)
}
