// Command cleat runs containers as systemd services. It decodes what the user
// typed, makes a call to package engine, and prints the answer: it decides
// nothing about containers itself. There is a file for every verb.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/interrupt"
)

// version is set by the linker.
var version = "unknown"

// collectLater lets the heap grow to 16 MB instead of 4 before it is collected for
// the first time, which most commands do not live to see. From then on it is as it
// is in any Go program: those that do go on longer may have a lot in it.
func collectLater() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	usual := debug.SetGCPercent(firstGCPercent)
	runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, usual)
}

const firstGCPercent = 400

// run is main with its exit status. Panics end here too: a terminal in raw mode
// has been put back by then, because that is deferred.
func run(args []string) int {
	collectLater()
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
