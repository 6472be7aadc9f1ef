// Command cleat runs containers as systemd services. It decodes what the user
// typed, makes a call to package engine, and prints the answer: it decides
// nothing about containers itself. There is a file for every verb.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/interrupt"
)

// version is set by the linker.
var version = "unknown"

// gcPercent lets the heap grow more than Go does by itself before it is collected:
// most commands are over before that pays.
const gcPercent = 400

// run is main with its exit status. Panics end here too: a terminal in raw mode
// has been put back by then, because that is deferred.
func run(args []string) int {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	ctx, release := interrupt.Context(context.Background())
	defer release()
	c := &cli{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		lookup:         os.LookupEnv,
		euid:           os.Geteuid(),
		releaseSignals: release,
		enterHost:      enterHost, enterToComplete: enterRunningHost,
	}
	c.there = c.runThere
	c.open = func(opt engine.Options) (backend, error) { return engine.Open(opt) }
	defer c.close()
	if dir, err := os.Getwd(); err == nil {
		c.dir = dir
	}
	root := newRoot(c, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return report(os.Stderr, cmd, err)
}
