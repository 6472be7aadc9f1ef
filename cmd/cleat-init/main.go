// Command cleat-init is what the service unit of a container runs: it starts
// the container and records how it ended. It is on the path of every start, so
// it links little and logs nothing: a failure is one line on stderr, which is
// in the journal, and an exit code of package sandbox.
//
//	cleat-init [--root DIR] [--runroot DIR] start ID   ExecStart= of the unit; or NAME
//	cleat-init [--root DIR] [--runroot DIR] post ID    ExecStopPost= of the unit
//	cleat-init [--root DIR] [--runroot DIR] close ID   ExecStop= of one that connections start
//	cleat-init [--root DIR] [--runroot DIR] due ID     ExecCondition= of units with the policy on-failure
//	cleat-init [--root DIR] [--runroot DIR] network-restore
//	                                  of cleat-network-restore.service: bridges and firewall
//	cleat-init [--root DIR] [--runroot DIR] network-remove
//	                                  of the packages' scripts: the same go when cleat does
//
// The verbs "setup" and "exec-child" are for cleat-init's and package sandbox's
// own use. Called as docker-init it is the init of a container.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/sandbox/reaper"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func main() {
	if path.Base(os.Args[0]) == reaper.Name {
		os.Exit(reaper.Main(os.Args[1:]))
	}
	os.Exit(run(context.Background(), os.Args[1:]))
}

// idLen is the length of a container's id.
const idLen = 64

func run(ctx context.Context, args []string) int {
	root, runRoot := state.DefaultRoot, state.DefaultRunRoot
	for len(args) > 1 && (args[0] == "--root" || args[0] == "--runroot") {
		if args[0] == "--root" {
			root = args[1]
		} else {
			runRoot = args[1]
		}
		args = args[2:]
	}
	if len(args) == 0 {
		return report(errors.New("usage: cleat-init [--root DIR] [--runroot DIR] start ID|post ID|close ID|due ID|network-restore|network-remove"))
	}
	store := state.At(root, runRoot)
	if len(args) == 2 && (args[0] == "start" || args[0] == "post") && len(args[1]) < idLen { // a unit that is made from a file has the name
		id, err := store.IDOf(args[1])
		if errors.Is(err, spec.ErrNotFound) && args[0] == "post" {
			return 0 // it could not be made
		}
		if err != nil {
			return report(err)
		}
		args[1] = id
	}
	return verb(ctx, store, args)
}

// verb runs args[0] with args[1:], which is not empty.
func verb(ctx context.Context, store *state.Store, args []string) int {
	switch {
	case args[0] == "start" && len(args) == 2:
		return start(ctx, store, args[1])
	case args[0] == "post" && len(args) == 2:
		return report(post(ctx, store, args[1], endFromEnv()))
	case args[0] == "close" && len(args) == 2:
		return report(wires(store).Close(ctx, args[1]))
	case args[0] == "due" && len(args) == 2:
		return due(store, args[1])
	case args[0] == "network-restore" && len(args) == 1:
		return report(restoreNetworks(ctx, store))
	case args[0] == "network-remove" && len(args) == 1:
		return report(removeNetworks(ctx, store))
	case args[0] == sandbox.VerbSetup && len(args) == 4:
		// Its first stage reports what it returns.
		return sandbox.ExitOf(sandbox.Setup(args[1], args[2], args[3], hooks(ctx)))
	case args[0] == sandbox.VerbExec && len(args) == 2:
		return sandbox.ExitOf(sandbox.ExecChild(args[1]))
	}
	return report(fmt.Errorf("unknown command %q", args[0]))
}

// report prints err, which may be nil, and returns its exit code.
func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "cleat-init: %v\n", err)
	return sandbox.ExitOf(err)
}

// hooks ties the root filesystem to the sandbox.
func hooks(ctx context.Context) sandbox.Hooks {
	return sandbox.Hooks{
		Mount: func(r plan.Rootfs, target string) error {
			return rootfs.Mount{Lower: r.All(), Upper: r.Upper, Work: r.Work, Volatile: r.Volatile}.Do(target)
		},
		CopyUp: func(root *os.File, path, volume string) error {
			return rootfs.CopyUp(ctx, root, path, volume, rootfs.CopyUpOptions{})
		},
	}
}
