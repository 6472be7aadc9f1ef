package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Where a command runs (annotation placeKey). Most run where the containers'
// systemd is, as root.
const (
	placeAnywhere = "anywhere" // needs neither systemd nor root
	placeRoot     = "root"     // needs root, and is the same inside and outside of the embedded host
)

// newRoot returns the tree of all commands.
func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:               "cleat [OPTIONS] COMMAND [ARG...]",
		Short:             "Containers as systemd services",
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		TraverseChildren:  true,
		Annotations:       map[string]string{placeKey: placeAnywhere},
		Args:              cobra.ArbitraryArgs,
		RunE:              unknownCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.enter(cmd) },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	global := root.PersistentFlags()
	global.StringVar(&c.root, "root", "", "Directory of images, containers and volumes (default \"/var/lib/cleat\")")
	global.StringVar(&c.runRoot, "runroot", "", "Directory of sockets and locks (default \"/run/cleat\")")
	global.Bool("help", false, "Print usage")
	_ = global.MarkHidden("help") // exists: it is defined one line above
	root.Flags().BoolP("version", "v", false, "Print version information and quit")
	root.SetVersionTemplate("cleat version {{.Version}}\n")
	root.SetHelpFunc(help)
	root.SetUsageFunc(func(*cobra.Command) error { return nil }) // report prints it
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp())
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetIn(c.in)

	addCommon(root, c)
	addObjects(root, c)
	root.AddCommand(
		newAttach(c), newCreate(c), newHistory(c), newImport(c), newInspect(c), newKill(c), newLoad(c), newLogs(c), newPause(c), newRestart(c),
		newRm(c), newRmi(c), newStart(c), newStop(c), newTag(c), newUnpause(c), newWait(c),
	)
	return root
}

// addCommon adds the commands that most users type, in the order of the help.
func addCommon(root *cobra.Command, c *cli) {
	for _, cmd := range []*cobra.Command{newRun(c), newExec(c), newPs(c), newPull(c), newImages(c), newLogin(c), newLogout(c), newVersion(c)} {
		annotate(cmd, groupKey, groupCommon)
		root.AddCommand(cmd)
	}
}

// addObjects adds the commands that take a verb: "cleat container ls".
func addObjects(root *cobra.Command, c *cli) {
	container := object("container", "Manage containers",
		newAttach(c), newCreate(c), newExec(c), newInspectOf(c, typeContainer), newKill(c), newLogs(c), renamed(newPs(c), "ls", "list", "ps"), newPause(c),
		newRestart(c), renamed(newRm(c), "rm", "remove"), newRun(c), newStart(c), newStop(c), newUnpause(c), newWait(c))
	image := object("image", "Manage images",
		newHistory(c), newImport(c), newInspectOf(c, typeImage), newLoad(c), renamed(newImages(c), "ls", "list"), newPull(c),
		renamed(newRmi(c), "rm", "remove"), newTag(c))
	root.AddCommand(container, image, object("system", "Manage cleat", newCheck(c)), newHost(c))
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() {
			annotate(cmd, groupKey, groupManagement)
		}
	}
}

// object returns the command of a kind of thing, whose verbs are subcommands.
func object(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " COMMAND", Short: short,
		Args: cobra.ArbitraryArgs, RunE: unknownCommand,
		Annotations: map[string]string{placeKey: placeAnywhere},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// renamed gives the object form of a verb its own name and aliases.
func renamed(cmd *cobra.Command, name string, aliases ...string) *cobra.Command {
	_, args, _ := strings.Cut(cmd.Use, " ")
	cmd.Use = strings.TrimSpace(name + " " + args)
	cmd.Aliases = aliases
	return cmd
}

func annotate(cmd *cobra.Command, key, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[key] = value
}

// also names the other ways to type a verb, for its help.
func also(names ...string) map[string]string {
	return map[string]string{aliasesKey: "cleat " + strings.Join(names, ", cleat ")}
}

// enter brings the process to where cmd has to run before it does.
func (c *cli) enter(cmd *cobra.Command) error {
	place := cmd.Annotations[placeKey]
	switch {
	case isRequest(cmd):
		return c.enterToComplete(cmd.Context(), c)
	case place == placeAnywhere || isCompletion(cmd):
		return nil
	}
	if err := c.needRoot(); err != nil {
		return err
	}
	if place == placeRoot {
		return nil
	}
	return c.enterHost(cmd.Context(), c)
}

// isRequest reports whether a shell's completion asks for words.
func isRequest(cmd *cobra.Command) bool {
	return cmd.Name() == cobra.ShellCompRequestCmd || cmd.CalledAs() == cobra.ShellCompNoDescRequestCmd
}

// isCompletion reports whether cmd is one of those that print scripts for
// shells; cobra adds them.
func isCompletion(cmd *cobra.Command) bool {
	return cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion"
}

// newHelp returns "cleat help VERB".
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about the command", Hidden: true,
		Annotations: map[string]string{placeKey: placeAnywhere},
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || target == nil || len(rest) > 0 {
				return fmt.Errorf("unknown help topic: %s", strings.Join(args, " "))
			}
			help(target, nil)
			return nil
		},
	}
}
