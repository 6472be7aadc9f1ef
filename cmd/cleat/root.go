package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Where a command runs (annotation placeKey). Most run where the containers'
// systemd is, as root.
const (
	placeAnywhere = "anywhere" // needs neither systemd nor root
	placeRoot     = "root"     // needs root, and is the same inside and outside of the embedded host
	placeMember   = "member"   // needs root only to get into the embedded host
)

// newRoot returns the tree of commands for a command line. If that names a verb,
// the tree has this one alone: to define the flags of all of them takes longer
// than most verbs do.
func newRoot(c *cli, args []string) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:               "cleat [OPTIONS] COMMAND [ARG...]",
		Short:             "Containers as systemd services",
		SilenceErrors:     true,
		SilenceUsage:      true,
		TraverseChildren:  true,
		Annotations:       map[string]string{placeKey: placeAnywhere},
		Args:              cobra.ArbitraryArgs,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.bare(cmd, args, showVersion) },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.enter(cmd) },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	global := root.PersistentFlags()
	global.StringVar(&c.root, "root", "", "Directory of images, containers and volumes (default \""+defaultRoot+"\")")
	global.StringVar(&c.runRoot, "runroot", "", "Directory of sockets and locks (default \"/run/cleat\")")
	global.Bool("help", false, "Print usage")
	_ = global.MarkHidden("help") // exists: it is defined one line above
	global.StringVar(&c.config, "config", "", "Directory of the client's configuration, with credentials of registries (default \"~/.docker\")")
	c.defineTarget(root.Flags())
	refuse(root.Flags(), refusedGlobal)
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "Print version information and quit")
	root.SetHelpFunc(help)
	root.SetUsageFunc(func(*cobra.Command) error { return nil }) // report prints it
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp())
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetIn(c.in)

	c.args = args
	words := verbWords(args)
	picked := pick(verbs, words, 0)
	for _, v := range picked {
		root.AddCommand(v.build(c, words))
	}
	if len(picked) == len(verbs) {
		root.AddCommand(refusedCommands(refusedVerbs)...)
	}
	return root
}

// bare is "cleat" without a verb.
func (c *cli) bare(cmd *cobra.Command, args []string, showVersion bool) error {
	if showVersion { // cobra's own way is a template, which takes its time
		fmt.Fprintf(c.out, "cleat version %s\n", version)
		return nil
	}
	return unknownCommand(cmd, args)
}

// verb is a command that is not built yet. It has either make, or members.
type verb struct {
	name    string
	also    []string // its other names
	group   string   // of the root's help; "" means groupOther
	make    func(*cli) *cobra.Command
	short   string // of a command with members
	members []verb
	refused []refusedVerb // Docker's, that are not among the members
}

// build makes the command, and those of its members that words leaves.
func (v verb) build(c *cli, words []string) *cobra.Command {
	var cmd *cobra.Command
	if v.make != nil {
		cmd = v.make(c)
	} else {
		cmd = object(v.name, v.short)
		picked := pick(v.members, words, 1)
		for _, member := range picked {
			cmd.AddCommand(member.build(c, words))
		}
		if len(words) < 2 || words[1] != picked[0].name {
			cmd.AddCommand(refusedCommands(v.refused)...)
		}
	}
	if cmd.Name() != v.name { // the object form is called otherwise: "container ls"
		_, args, _ := strings.Cut(cmd.Use, " ")
		cmd.Use = strings.TrimSpace(v.name + " " + args)
	}
	cmd.Aliases = v.also
	if v.group != "" {
		annotate(cmd, groupKey, v.group)
	}
	return cmd
}

// pick returns the verb that words has at the given place, or all of them if it
// has none that is known: then they are listed, or searched for a similar one.
func pick(verbs []verb, words []string, place int) []verb {
	if len(words) <= place {
		return verbs
	}
	for i, v := range verbs {
		if v.name == words[place] || slices.Contains(v.also, words[place]) {
			return verbs[i : i+1]
		}
	}
	return verbs
}

// globalWords are the global flags with a value.
var globalWords = []string{"--root", "--runroot", "--config", "--host", "-H", "--context", "-c"}

// verbWords returns the first two words of a command line that are neither
// global flags nor their values.
func verbWords(args []string) (words []string) {
	for i := 0; i < len(args) && len(words) < 2; i++ {
		switch arg := args[i]; {
		case slices.Contains(globalWords, arg):
			i++
		case slices.ContainsFunc(globalWords, func(word string) bool { return strings.HasPrefix(word, "--") && strings.HasPrefix(arg, word+"=") }):
		case strings.HasPrefix(arg, "-"):
			return words
		default:
			words = append(words, arg)
		}
	}
	return words
}

// verbs are the commands, those that most users type first. The help lists each
// group by name.
var verbs = []verb{
	{name: "run", make: newRun, group: groupCommon},
	{name: "exec", make: newExec, group: groupCommon},
	{name: "ps", make: newPs, group: groupCommon},
	{name: "pull", make: newPull, group: groupCommon},
	{name: "push", make: newPush, group: groupCommon},
	{name: "build", make: newBuild, group: groupCommon},
	{name: "images", make: newImages, group: groupCommon},
	{name: "search", make: newSearch, group: groupCommon},
	{name: "login", make: newLogin, group: groupCommon},
	{name: "logout", make: newLogout, group: groupCommon},
	{name: "version", make: newVersion, group: groupCommon},
	{name: "info", make: newInfo, group: groupCommon},

	{name: "container", short: "Manage containers", group: groupManagement, members: []verb{
		{name: "attach", make: newAttach},
		{name: "commit", make: newCommit},
		{name: "cp", make: newCp},
		{name: "create", make: newCreate},
		{name: "diff", make: newDiff},
		{name: "exec", make: newExec},
		{name: "export", make: newExport},
		{name: "inspect", make: newInspectContainer},
		{name: "kill", make: newKill},
		{name: "logs", make: newLogs},
		{name: "ls", make: newPs, also: []string{"list", "ps"}},
		{name: "pause", make: newPause},
		{name: "port", make: newPort},
		{name: "prune", make: newContainerPrune},
		{name: "rename", make: newRename},
		{name: "restart", make: newRestart},
		{name: "rm", make: newRm, also: []string{"remove"}},
		{name: "run", make: newRun},
		{name: "start", make: newStart},
		{name: "stats", make: newStats},
		{name: "stop", make: newStop},
		{name: "top", make: newTop},
		{name: "unpause", make: newUnpause},
		{name: "update", make: newUpdate},
		{name: "wait", make: newWait},
	}},
	{name: "builder", short: "Manage builds", group: groupManagement, members: []verb{
		{name: "build", make: newBuild},
		{name: "prune", make: newBuilderPrune},
	}},
	{name: "image", short: "Manage images", group: groupManagement, members: []verb{
		{name: "build", make: newBuild},
		{name: "history", make: newHistory},
		{name: "import", make: newImport},
		{name: "inspect", make: newInspectImage},
		{name: "load", make: newLoad},
		{name: "ls", make: newImages, also: []string{"list"}},
		{name: "prune", make: newImagePrune},
		{name: "pull", make: newPull},
		{name: "push", make: newPush},
		{name: "rm", make: newRmi, also: []string{"remove"}},
		{name: "save", make: newSave},
		{name: "tag", make: newTag},
	}},
	{name: "compose", make: newCompose, group: groupManagement},
	{name: "context", short: "Manage contexts", group: groupManagement, refused: refusedContext, members: []verb{
		{name: "create", make: newContextCreate},
		{name: "inspect", make: newContextInspect},
		{name: "ls", make: newContextLs, also: []string{"list"}},
		{name: "rm", make: newContextRm, also: []string{"remove"}},
		{name: "show", make: newContextShow},
		{name: "update", make: newContextUpdate},
		{name: "use", make: newContextUse},
	}},
	{name: "host", make: newHost, group: groupManagement},
	{name: "manifest", short: "Manage manifests of images in registries", group: groupManagement, refused: refusedManifest, members: []verb{
		{name: "inspect", make: newManifestInspect},
	}},
	{name: "volume", short: "Manage volumes", group: groupManagement, members: []verb{
		{name: "create", make: newVolumeCreate},
		{name: "export", make: newVolumeExport},
		{name: "import", make: newVolumeImport},
		{name: "inspect", make: newInspectVolume},
		{name: "ls", make: newVolumeLs, also: []string{"list"}},
		{name: "prune", make: newVolumePrune},
		{name: "rm", make: newVolumeRm, also: []string{"remove"}},
		{name: "update", make: newVolumeUpdate},
	}},
	{name: "network", short: "Manage networks", group: groupManagement, members: []verb{
		{name: "connect", make: newNetworkConnect},
		{name: "create", make: newNetworkCreate},
		{name: "disconnect", make: newNetworkDisconnect},
		{name: "inspect", make: newInspectNetwork},
		{name: "ls", make: newNetworkLs, also: []string{"list"}},
		{name: "prune", make: newNetworkPrune},
		{name: "rm", make: newNetworkRm, also: []string{"remove"}},
	}},
	{name: "quadlet", short: "Work with files that describe containers, volumes, networks, images and builds", group: groupManagement, members: []verb{
		{name: "apply", make: newQuadletApply},
		{name: "check", make: newQuadletCheck},
		{name: "generate", make: newQuadletGenerate},
		{name: "sweep", make: newQuadletSweep},
	}},
	{name: "system", short: "Manage cleat", group: groupManagement, members: []verb{
		{name: "check", make: newCheck},
		{name: "df", make: newDf},
		{name: "dial-stdio", make: newDialStdio},
		{name: "events", make: newEvents},
		{name: "info", make: newInfo},
		{name: "prune", make: newSystemPrune},
	}},

	{name: "attach", make: newAttach},
	{name: "commit", make: newCommit},
	{name: "cp", make: newCp},
	{name: "create", make: newCreate},
	{name: "events", make: newEvents},
	{name: "diff", make: newDiff},
	{name: "explain", make: newExplain},
	{name: "export", make: newExport},
	{name: "generate", make: newGenerate},
	{name: "history", make: newHistory},
	{name: "import", make: newImport},
	{name: "inspect", make: newInspect},
	{name: "kill", make: newKill},
	{name: "load", make: newLoad},
	{name: "logs", make: newLogs},
	{name: "pause", make: newPause},
	{name: "port", make: newPort},
	{name: "rename", make: newRename},
	{name: "restart", make: newRestart},
	{name: "rm", make: newRm},
	{name: "rmi", make: newRmi},
	{name: "save", make: newSave},
	{name: "serve", make: newServe},
	{name: "start", make: newStart},
	{name: "stats", make: newStats},
	{name: "stop", make: newStop},
	{name: "tag", make: newTag},
	{name: "top", make: newTop},
	{name: "unpause", make: newUnpause},
	{name: "update", make: newUpdate},
	{name: "wait", make: newWait},
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
	if c.config != "" {
		if err := os.Setenv("DOCKER_CONFIG", c.config); err != nil { // of whoever reads it: the registry client, cleat-build
			return err
		}
	}
	if err := c.enterRemote(cmd); err != nil {
		return err
	}
	place := cmd.Annotations[placeKey]
	switch {
	case isRequest(cmd):
		return c.enterToComplete(cmd.Context(), c)
	case place == placeAnywhere || isCompletion(cmd):
		return nil
	}
	if place == placeMember && c.euid != 0 {
		return nil
	}
	err := c.needRoot()
	if err == nil && place != placeRoot {
		err = c.enterHost(cmd.Context(), c)
	}
	if cmd.Name() == "run" {
		return ownFailure(err)
	}
	return err
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
