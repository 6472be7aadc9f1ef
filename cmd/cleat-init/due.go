package main

import (
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

const (
	// exitNotDue makes systemd leave the unit alone, without a failure, see
	// ExecCondition= in systemd.service(5).
	exitNotDue = 1

	// exitNotKnown makes it fail: codes from 1 to 254 would skip it.
	exitNotKnown = 255

	// wants is where a unit is enabled.
	wants = "/etc/systemd/system/multi-user.target.wants"
)

// due is the condition of units with the policy on-failure, which are enabled as
// others are: a container whose last run succeeded does not come back at boot. It
// returns 0 if the container is to be started.
func due(store *state.Store, id string) int {
	annex, err := plan.LoadAnnex(store.Dir(id))
	if err != nil {
		report(err)
		return exitNotKnown
	}
	run, err := store.LoadRun(id)
	if err != nil {
		report(err)
		return exitNotKnown
	}
	_, err = store.LoadExit(id)
	if isDue(annex.Restart, run, err == nil, isEnabled(annex.Unit)) {
		return 0
	}
	// From now on, a start is by a person: the announcement, which the reboot took
	// away, is there again.
	if err := store.Ended(id, state.Exit{Code: run.ExitCode, Error: run.Error, At: run.FinishedAt}); err != nil {
		report(err)
		return exitNotKnown
	}
	return exitNotDue
}

// isDue decides whether a container with policy p and the given last run is to be
// started. EndedSinceBoot says that the boot has done with it, enabled that the
// boot does start it.
func isDue(p spec.RestartPolicy, run state.Run, endedSinceBoot, enabled bool) bool {
	byBoot := !endedSinceBoot && enabled
	switch {
	case !byBoot || p.Mode != spec.RestartOnFailure:
		return true
	case run.UnderWay || run.FinishedAt.IsZero(): // the machine went down under it
		return true
	}
	return run.ExitCode != 0 && !exhausted(p, run)
}

// isEnabled reports whether the boot starts a unit.
func isEnabled(unit string) bool {
	_, err := os.Lstat(filepath.Join(wants, unit))
	return err == nil
}
