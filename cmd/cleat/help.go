package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/moby/term"
	"github.com/spf13/cobra"
)

// Annotations of commands.
const (
	aliasesKey = "aliases" // other ways to type the command, for its help
	groupKey   = "group"   // the heading under which the root's help lists it
	placeKey   = "place"   // where it runs, see placeAnywhere
)

// The headings of the root's help, in order.
const (
	groupCommon     = "Common Commands"
	groupManagement = "Management Commands"
	groupOther      = "Commands"
)

// useLine returns the command with the form of its arguments, as Docker shows it.
func useLine(cmd *cobra.Command) string {
	if cmd == nil {
		return ""
	}
	line := cmd.CommandPath()
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		line += " " + args
	}
	return line
}

// help prints the help of cmd on its output.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "Usage:  %s\n\n%s\n", useLine(cmd), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(w, "%s\n", cmd.Long)
	}
	if aliases := cmd.Annotations[aliasesKey]; aliases != "" {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", aliases)
	}
	for _, group := range []string{groupCommon, groupManagement, groupOther} {
		helpGroup(w, cmd, group)
	}
	heading := "Options"
	if !cmd.HasParent() {
		heading = "Global Options"
	}
	if flags := cmd.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(w, "\n%s:\n%s\n", heading, strings.TrimRight(flags.FlagUsagesWrapped(width(w)), "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		name := cmd.CommandPath()
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for more information on a command.\n", name)
	}
}

// helpGroup lists the subcommands under one heading, if there are any.
func helpGroup(w io.Writer, cmd *cobra.Command, group string) {
	longest := 0
	var members []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.Hidden || groupOf(sub) != group {
			continue
		}
		members = append(members, sub)
		longest = max(longest, len(sub.Name()))
	}
	if len(members) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", group)
	for _, sub := range members {
		fmt.Fprintf(w, "  %-*s   %s\n", longest, sub.Name(), sub.Short)
	}
}

func groupOf(cmd *cobra.Command) string {
	if g := cmd.Annotations[groupKey]; g != "" {
		return g
	}
	return groupOther
}

// width is that of the terminal, within reason.
func width(w io.Writer) int {
	if fd, isTerminal := terminalFd(w); isTerminal {
		if size, err := term.GetWinsize(fd); err == nil && size.Width >= 40 {
			return int(size.Width)
		}
	}
	return 80
}

// atLeast accepts n arguments or more.
func atLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return arityError("'%s' requires at least %d argument%s", cmd.CommandPath(), n, plural(n))
	}
}

// exactly accepts n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == n:
			return nil
		case n == 0:
			return arityErrorRun("'%s' accepts no arguments", cmd.CommandPath())
		}
		return arityError("'%s' requires %d argument%s", cmd.CommandPath(), n, plural(n))
	}
}

// between accepts from low to high arguments.
func between(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) >= low && len(args) <= high:
			return nil
		case low == 0:
			return arityError("'%s' requires at most %d argument%s", cmd.CommandPath(), high, plural(high))
		}
		return arityError("'%s' requires at least %d and at most %d arguments", cmd.CommandPath(), low, high)
	}
}

func arityError(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), exitFailure, "See"}
}

func arityErrorRun(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), exitFailure, "Run"}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// unknownCommand is what the root and the object commands run: without
// arguments the help, otherwise an error.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		help(cmd, nil)
		return nil
	}
	name := strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "cleat ")
	err := fmt.Errorf("'%s' is not a cleat command", name)
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = hinted(err, "did you mean "+strings.Join(near, " or ")+"?")
	}
	return seeHelp{err}
}

// seeHelp is an error whose last line points to the help.
type seeHelp struct{ error }

func (e seeHelp) Unwrap() error { return e.error }
