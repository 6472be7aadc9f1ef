package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

// backend is what the verbs together need of the engine. Each verb names its
// own part as a small interface, and its test brings a fake of that alone.
type backend interface {
	creator
	launcher
	starter
	stopper
	restarter
	killer
	pauser
	waiter
	ender
	remover
	lister
	namer
	sizer
	attacher
	executor
	logger
	generator
	getter
	inspector
	provider
	puller
	pusher
	imageLister
	imageRemover
	imagePruner
	buildPruner
	searcher
	manifestInspector
	platformChecker
	tagger
	loader
	saver
	importer
	copier
	differ
	exporter
	committer
	historian
	loginer
	checker
	volumeCreator
	volumeLister
	volumeRemover
	volumePruner
	volumeArchiver
	containerPruner
	networkCreator
	networkLister
	networkRemover
	networkPruner
	networkConnector
	networkDisconnector
	eventer
	systemPruner
	informer
	diskMeter
	renamer
	topper
	statter
	updater
	Close()
}

var _ backend = (*engine.Engine)(nil)

// cli is what all commands share: the caller's side of the world, and the
// global options once they are parsed.
type cli struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	lookup opts.Lookup // the caller's environment
	dir    string      // the caller's working directory
	euid   int         // the caller's effective user id

	args        []string // the command line
	hostFlag    string   // --host
	contextFlag string   // --context

	root    string // --root
	runRoot string // --runroot
	config  string // --config

	open           func(opt engine.Options) (backend, error)
	releaseSignals func()
	enterHost      func(ctx context.Context, c *cli) error // into the embedded host, where one is needed

	there func(ctx context.Context, r remoteCommand) error // runs a command on another machine

	// enterToComplete is enterHost for completion, which starts nothing.
	enterToComplete func(ctx context.Context, c *cli) error

	eng backend // once opened
}

// engine opens the engine on first use. It stays open until close.
func (c *cli) engine() (backend, error) {
	if c.eng != nil {
		return c.eng, nil
	}
	settings, _ := c.lookup("CLEAT_CONFIG")
	eng, err := c.open(engine.Options{Root: c.root, RunRoot: c.runRoot, Config: settings, Version: version, Warn: c.warn})
	if err != nil {
		return nil, err
	}
	c.eng = eng
	return eng, nil
}

// close closes the engine if it was opened.
func (c *cli) close() {
	if c.eng != nil {
		c.eng.Close()
	}
}

func (c *cli) warn(sentence string) { fmt.Fprintf(c.err, "WARNING: %s\n", sentence) }

// each calls do for every argument. It goes on after an error and returns all
// of them.
func each(cmd *cobra.Command, args []string, do func(ctx context.Context, arg string) error) error {
	var errs errorList
	for _, arg := range args {
		if err := do(cmd.Context(), arg); err != nil {
			errs = append(errs, err)
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// errorList is what went wrong with several arguments, a line for each.
type errorList []error

func (l errorList) Error() string   { return errors.Join(l...).Error() }
func (l errorList) Unwrap() []error { return l }

// echo wraps a call that succeeds or fails: what succeeded is printed as typed.
func (c *cli) echo(call func(ctx context.Context, ref string) error) func(context.Context, string) error {
	return func(ctx context.Context, ref string) error {
		if err := call(ctx, ref); err != nil {
			return err
		}
		fmt.Fprintln(c.out, ref)
		return nil
	}
}

// terminalFd returns the descriptor behind a stream and whether it is a terminal.
func terminalFd(stream any) (fd uintptr, isTerminal bool) {
	if f, ok := stream.(*os.File); ok {
		return f.Fd(), term.IsTerminal(f.Fd())
	}
	return 0, false
}

// needRoot returns an error unless the caller is root.
func (c *cli) needRoot() error {
	if c.euid == 0 {
		return nil
	}
	return hinted(errors.New("this needs root: cleat works on systemd, mounts and namespaces of the whole machine"), "run it with sudo")
}
