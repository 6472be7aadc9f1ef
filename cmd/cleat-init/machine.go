package main

import (
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/health/enlist"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// busctl is where systemd's own packages put it.
const busctl = "/usr/bin/busctl"

// introduce has systemd-machined told of a run that has begun, if there is one. Of
// what is enlisted anyway, it hears anyway.
func introduce(store *state.Store, a plan.Annex) {
	if a.Enlist == "" && enlist.HasMachined() {
		enlist.Introduce(filepath.Join(store.RunRoot(), enlist.Socket), a.ID)
	}
}

// leaveMachined has systemd-machined forget a run that has ended, before its unit has:
// it would have the unit stopped once it sees that, which may be the next run.
func leaveMachined(a plan.Annex) {
	name := spec.MachineName(a.Unit, a.ID)
	if _, err := os.Lstat(filepath.Join(enlist.Machines, name)); err != nil {
		return // it does not know of it
	}
	const machine1 = "org.freedesktop.machine1"
	_, _ = ask(busctl, "--system", "call", machine1, "/org/freedesktop/machine1", machine1+".Manager", "UnregisterMachine", "s", name) // it finds out itself
}
