package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// postCase is a container in the store, without a payload.
func postCase(t *testing.T, policy spec.RestartPolicy, run state.Run, live bool) *rig {
	t.Helper()
	r := newRig(t, "probe")
	r.plan.Annex.Restart = policy
	r.create()
	if run != (state.Run{}) {
		if err := r.store.SaveRun(r.id, run); err != nil {
			t.Fatal(err)
		}
		if err := r.store.SetStopped(r.id, run.Stopped); err != nil {
			t.Fatal(err)
		}
	}
	if live {
		if _, err := r.store.SaveStarting(r.id, state.Live{PID: 1, StartedAt: time.Now().Add(-time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestPost(t *testing.T) {
	always := spec.RestartPolicy{Mode: spec.RestartAlways}
	before := time.Unix(1000, 0).UTC()
	tests := map[string]struct {
		policy spec.RestartPolicy
		run    state.Run
		live   bool
		end    end
		want   state.Run // but for its times
		kept   bool      // FinishedAt is that of the run before
	}{
		"an exit":                {live: true, end: end{"exited", "3", "exit-code", false}, want: state.Run{ExitCode: 3}},
		"a kill":                 {live: true, end: end{"killed", "KILL", "signal", false}, want: state.Run{ExitCode: 137}},
		"out of memory":          {live: true, end: end{"killed", "KILL", "oom-kill", false}, want: state.Run{ExitCode: 137, OOMKilled: true}},
		"a code of cleat's own":  {live: true, end: end{"exited", "243", "exit-code", false}, want: state.Run{ExitCode: 243}},
		"to be restarted":        {policy: always, live: true, end: end{"exited", "0", "success", false}, want: state.Run{Restarting: true, Consecutive: 1}},
		"stopped by hand":        {policy: always, run: state.Run{Stopped: true}, live: true, end: end{"killed", "TERM", "success", false}, want: state.Run{ExitCode: 143, Stopped: true}},
		"a recorded failure":     {run: state.Run{ExitCode: 127, Error: "exec", FinishedAt: before}, end: end{"exited", "243", "exit-code", false}, want: state.Run{ExitCode: 127, Error: "exec"}, kept: true},
		"enough restarts":        {run: state.Run{ExitCode: 1, RestartCount: 2, FinishedAt: before}, end: end{"exited", "244", "exit-code", false}, want: state.Run{ExitCode: 1, RestartCount: 2}, kept: true},
		"stopped while it waits": {policy: always, run: state.Run{ExitCode: 1, Restarting: true, FinishedAt: before}, end: end{"exited", "0", "success", false}, want: state.Run{ExitCode: 1}, kept: true},
		"killed while it starts": {end: end{"killed", "KILL", "timeout", false}, want: state.Run{ExitCode: 137, Error: "the start was interrupted (timeout, KILL)"}},
		"too few processes":      {end: end{"exited", "2", "exit-code", true}, want: state.Run{ExitCode: 125, Error: "the limit on processes is too small: a start takes about 12 processes and threads itself"}},
		"no helper":              {end: end{"exited", "203", "exit-code", false}, want: state.Run{ExitCode: 125, Error: "the start was interrupted (exit-code, 203)"}},
		"a broken unit": {
			policy: always, end: end{"exited", "203", "exit-code", false},
			want: state.Run{ExitCode: 125, Error: "the unit is broken (exit-code, 203): see 'systemctl cat UNIT'"},
		},
		"a unit with another program": {
			policy: always, end: end{"exited", "0", "protocol", false},
			want: state.Run{ExitCode: 125, Error: "the unit is broken (protocol, 0): see 'systemctl cat UNIT'"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := postCase(t, tt.policy, tt.run, tt.live)
			if err := post(t.Context(), r.store, r.id, tt.end); err != nil {
				t.Fatal(err)
			}
			run, err := r.store.LoadRun(r.id)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Error = strings.Replace(tt.want.Error, "UNIT", r.plan.Annex.Unit, 1)
			if diff := cmp.Diff(tt.want, run, cmpopts.IgnoreTypes(time.Time{})); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if tt.kept != run.FinishedAt.Equal(before) {
				t.Errorf("finished at %v", run.FinishedAt)
			}
			if tt.live == run.StartedAt.IsZero() {
				t.Errorf("started at %v", run.StartedAt)
			}
			exit, err := r.store.LoadExit(r.id)
			if err != nil || exit.Code != tt.want.ExitCode || exit.Error != tt.want.Error || !exit.At.Equal(run.FinishedAt) {
				t.Errorf("announced %+v, %v", exit, err)
			}
			if _, err := r.store.LoadLive(r.id); err == nil {
				t.Error("the live record is still there")
			}
		})
	}
}

// The end is announced even if the broker is not there to drain the output.
func TestPostWithoutBroker(t *testing.T) {
	r := postCase(t, spec.RestartPolicy{}, state.Run{}, true)
	if err := os.Remove(r.broker.path); err != nil {
		t.Fatal(err)
	}
	if err := post(t.Context(), r.store, r.id, end{"exited", "4", "exit-code", false}); err == nil {
		t.Error("nothing was said about the broker")
	}
	if exit, err := r.store.LoadExit(r.id); err != nil || exit.Code != 4 {
		t.Errorf("announced %+v, %v", exit, err)
	}
}

// A container that is gone needs no record.
func TestPostOfRemoved(t *testing.T) {
	r := newRig(t, "probe")
	if err := post(t.Context(), r.store, r.id, end{"exited", "0", "success", false}); err != nil {
		t.Error(err)
	}
}

// A restart waits for as long as the policy says, and a stop ends the wait
// without a trace in the record.
func TestWaitIsInterrupted(t *testing.T) {
	r := newRig(t, "probe")
	r.plan.Annex.Restart = spec.RestartPolicy{Mode: spec.RestartAlways}
	r.plan.Annex.StopSignal = 28 // SIGWINCH, which httpd's image asks for
	run := state.Run{ExitCode: 1, Restarting: true, Consecutive: 12, FinishedAt: time.Now()}
	r.create()
	r.ended(run)
	cmd := r.command("start", r.id)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitCaught(t, cmd.Process.Pid, 28)
	if err := cmd.Process.Signal(winch); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("start: %v", err)
	}
	if got := r.notify.messages(); len(got) > 0 {
		t.Errorf("systemd was told %q", got)
	}
	after, err := r.store.LoadRun(r.id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(run, after); diff != "" {
		t.Errorf("record (-before +after):\n%s", diff)
	}
}

// A restart that the policy does not allow is refused with a code of its own.
func TestEnough(t *testing.T) {
	r := newRig(t, "probe")
	r.plan.Annex.Restart = spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 1}
	r.create()
	run := state.Run{ExitCode: 1, RestartCount: 1, FinishedAt: time.Now()}
	r.ended(run)
	if s := r.start(); s.code != 244 || s.stderr != "" {
		t.Errorf("exit code %d, %q", s.code, s.stderr)
	}
}

// A boot that comes soon after a stop by hand is no restart.
func TestBootSoonAfterStop(t *testing.T) {
	r := newRig(t, "probe")
	r.plan.Annex.Restart = spec.RestartPolicy{Mode: spec.RestartAlways}
	r.create()
	r.ended(state.Run{ExitCode: 137, FinishedAt: time.Now()})
	if err := r.store.SetStopped(r.id, true); err != nil {
		t.Fatal(err)
	}
	if s := r.start(); s.code != 244 {
		t.Errorf("systemd's restart after the stop: exit code %d", s.code)
	}
	if err := r.store.ForgetExit(r.id); err != nil { // as a boot does
		t.Fatal(err)
	}
	if s := r.start(); s.code != 0 {
		t.Errorf("start at boot: exit code %d, %q", s.code, s.stderr)
	}
}

// ended records a run as post does.
func (r *rig) ended(run state.Run) {
	r.t.Helper()
	if err := r.store.SaveRun(r.id, run); err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.Ended(r.id, state.Exit{Code: run.ExitCode, At: run.FinishedAt}); err != nil {
		r.t.Fatal(err)
	}
}
