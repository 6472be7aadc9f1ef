package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// completer is what cobra asks for the values of an argument.
type completer = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeContainers completes the names and ids of the containers that keep
// holds for, of all if keep is nil.
func completeContainers(c *cli, keep func(engine.Container) bool) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		eng, err := c.engine()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		if keep == nil {
			return allContainerNames(cmd, eng)
		}
		return containerNames(cmd, eng, keep)
	}
}

// namer has the names of things without what else there is to know of them.
type namer interface {
	ContainerNames(ctx context.Context) ([]engine.ContainerName, error)
	ImageNames(ctx context.Context) ([]engine.Reference, error)
}

func allContainerNames(cmd *cobra.Command, eng namer) ([]string, cobra.ShellCompDirective) {
	all, err := eng.ContainerNames(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, 2*len(all))
	for _, ct := range all {
		names = append(names, ct.Name, spec.ShortID(ct.ID))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func containerNames(cmd *cobra.Command, eng lister, keep func(engine.Container) bool) ([]string, cobra.ShellCompDirective) {
	all, err := eng.List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, ct := range all {
		if keep(ct) {
			names = append(names, ct.Name, spec.ShortID(ct.ID))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func isRunning(ct engine.Container) bool { return ct.Status == engine.StatusRunning }
func isPaused(ct engine.Container) bool  { return ct.Status == engine.StatusPaused }
func isStopped(ct engine.Container) bool {
	return ct.Status == engine.StatusExited || ct.Status == engine.StatusCreated || ct.Status == engine.StatusSleeping
}

// completeImages completes the names of images.
func completeImages(c *cli) completer {
	return completeFirst(func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		eng, err := c.engine()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return imageNames(cmd, eng)
	})
}

func imageNames(cmd *cobra.Command, eng namer) ([]string, cobra.ShellCompDirective) {
	all, err := eng.ImageNames(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(all))
	for _, ref := range all {
		names = append(names, ref.Familiar())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst completes the first argument only; what follows is up to the
// container.
func completeFirst(first completer) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return first(cmd, args, toComplete)
	}
}

// completeVolumes completes the names of volumes.
func completeVolumes(c *cli) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		eng, err := c.engine()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return volumeNames(cmd, eng)
	}
}

func volumeNames(cmd *cobra.Command, eng volumeLister) ([]string, cobra.ShellCompDirective) {
	all, err := eng.Volumes(cmd.Context(), engine.VolumeFilter{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(all))
	for _, v := range all {
		names = append(names, v.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeAny completes the names of all kinds of object.
func completeAny(c *cli) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, k := range inspectKinds {
			more, _ := k.complete(c)(cmd, nil, toComplete) // of the others there may still be some
			names = append(names, more...)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags completes the values of the flags that cmd has of those.
func completeFlags(cmd *cobra.Command, values map[string]completer) {
	for name, complete := range values {
		if cmd.Flags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that is not there, or done already
		}
	}
}

// oneOf completes fixed words.
func oneOf(words ...string) completer {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// filterKey completes the keys of --filter, after which the value is typed.
func filterKey(keys ...string) completer {
	words := make([]string, 0, len(keys))
	for _, k := range keys {
		words = append(words, k+"=")
	}
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
}

// createCompletions are the flags of run and create whose values are known.
func createCompletions(c *cli) map[string]completer {
	containers := completeContainers(c, nil)
	return map[string]completer{
		"network": completeNetworks(c), "net": completeNetworks(c), "volumes-from": containers, "link": containers,
		"pull": oneOf("always", "missing", "never"), "restart": oneOf("no", "always", "unless-stopped", "on-failure"),
		"health-on-failure": oneOf("none", "restart", "stop", "kill"), "sdnotify": oneOf("container", "healthy", "ignore"),
		"log-driver": oneOf("journald", "none"), "attach": oneOf("stdin", "stdout", "stderr"),
		"cgroupns": oneOf("private", "host"), "ipc": oneOf("private", "host", "shareable", "none"), "pid": oneOf("host"), "uts": oneOf("host"),
	}
}
