package main

import (
	"time"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

const (
	// unitDelay is RestartSec= of the units: systemd has waited that long.
	unitDelay = 100 * time.Millisecond

	// maxDelay is the longest wait before a restart, 60 s as in Docker.
	maxDelay = time.Minute

	// healthyRun is how long a run has to last to make the next restart as
	// quick as the first.
	healthyRun = 10 * time.Second

	// restartWindow is how long after the end of a run systemd's own restart
	// can come; stoppedWindow the same where a start by hand soon after a stop
	// by hand has to be told from it.
	restartWindow = 5 * time.Second
	stoppedWindow = time.Second
)

// delay returns how long the n-th consecutive restart waits: 100 ms, doubled
// each time, at most a minute.
func delay(n int) time.Duration {
	if n < 1 {
		return 0
	}
	if n > 10 { // 2^10 · 100 ms are more than a minute
		return maxDelay
	}
	return min(unitDelay<<(n-1), maxDelay)
}

// restarts reports whether policy p has a run that ended with code followed by
// another one, the limit of retries left aside.
func restarts(p spec.RestartPolicy, code int) bool {
	switch p.Mode {
	case spec.RestartAlways, spec.RestartUnlessStopped:
		return true
	case spec.RestartOnFailure:
		return code != 0
	}
	return false
}

// exhausted reports whether run had the last restart that p allows.
func exhausted(p spec.RestartPolicy, run state.Run) bool {
	return p.Mode == spec.RestartOnFailure && p.MaxRetries > 0 && run.RestartCount >= p.MaxRetries
}

// startKind says what a start is.
type startKind int

const (
	manual    startKind = iota // by a person, a dependency or the boot
	automatic                  // a restart that the policy asks for
	refused                    // a restart by systemd that the policy does not allow
)

// kindOf finds out what a start at the time now is. Systemd does not say: it is
// systemd's restart if a run has ended just before that it restarts after.
func kindOf(a plan.Annex, run state.Run, now time.Time) startKind {
	since := now.Sub(run.FinishedAt)
	switch {
	case run.FinishedAt.IsZero() || since > restartWindow || !restarts(a.Restart, run.ExitCode):
		return manual
	case run.Stopped && since < stoppedWindow, exhausted(a.Restart, run):
		return refused
	case run.Restarting && !run.Stopped:
		return automatic
	}
	return manual
}

// begin changes run, the record of the previous run, for a start of kind k,
// and reports whether there was something to change.
func begin(run *state.Run, k startKind, a plan.Annex) bool {
	old := *run
	run.Error, run.Restarting, run.Stopped = "", k == automatic, false // it restarts until it runs
	run.UnderWay = a.Restart.Mode == spec.RestartOnFailure
	if k == automatic {
		run.RestartCount++
	} else {
		run.RestartCount, run.Consecutive = 0, 0
	}
	old.Stopped = false // not part of the record
	return *run != old
}

// finish changes run for its end.
func finish(run *state.Run, a plan.Annex, e exit) {
	run.StartedAt, run.FinishedAt = e.started, e.at
	run.ExitCode, run.OOMKilled, run.UnderWay = e.code, e.oom, false
	if e.at.Sub(e.started) >= healthyRun {
		run.Consecutive = 0
	}
	run.Restarting = restarts(a.Restart, e.code) && !exhausted(a.Restart, *run) && !run.Stopped
	if run.Restarting {
		run.Consecutive++
	}
}

// exit is how a run ended.
type exit struct {
	started, at time.Time
	code        int
	oom         bool
}
