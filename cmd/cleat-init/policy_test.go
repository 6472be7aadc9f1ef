package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func TestDelay(t *testing.T) {
	for n, want := range map[int]time.Duration{
		0: 0, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 3: 400 * time.Millisecond,
		9: 25600 * time.Millisecond, 10: 51200 * time.Millisecond, 11: time.Minute, 12: time.Minute, 1000: time.Minute,
	} {
		if got := delay(n); got != want {
			t.Errorf("delay(%d) is %v, want %v", n, got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	always := spec.RestartPolicy{Mode: spec.RestartAlways}
	twice := spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 2}
	tests := map[string]struct {
		policy spec.RestartPolicy
		run    state.Run
		want   startKind
	}{
		"the first start":                      {always, state.Run{}, manual},
		"soon after a run":                     {always, state.Run{FinishedAt: ago(200 * time.Millisecond), Restarting: true}, automatic},
		"long after a run, as at boot":         {always, state.Run{FinishedAt: ago(time.Hour), Restarting: true}, manual},
		"after a stop by hand":                 {always, state.Run{FinishedAt: ago(3 * time.Second), Stopped: true}, manual},
		"systemd restarts what a person kills": {always, state.Run{FinishedAt: ago(200 * time.Millisecond), Restarting: true, Stopped: true}, refused},
		"no policy":                            {spec.RestartPolicy{}, state.Run{FinishedAt: ago(200 * time.Millisecond), Restarting: true}, manual},
		"a failure":                            {twice, state.Run{FinishedAt: ago(time.Second), ExitCode: 1, RestartCount: 1, Restarting: true}, automatic},
		"failures used up":                     {twice, state.Run{FinishedAt: ago(time.Second), ExitCode: 1, RestartCount: 2}, refused},
		"used up, by hand later":               {twice, state.Run{FinishedAt: ago(time.Minute), ExitCode: 1, RestartCount: 2}, manual},
		"success is not restarted":             {twice, state.Run{FinishedAt: ago(time.Second), RestartCount: 2}, manual},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := kindOf(plan.Annex{Restart: tt.policy}, tt.run, now); got != tt.want {
				t.Errorf("kind %d, want %d", got, tt.want)
			}
		})
	}
}

// A container that fails at once is restarted ever more slowly, and from the
// beginning again after it ran well for 10 s.
func TestBackoff(t *testing.T) {
	a := plan.Annex{Restart: spec.RestartPolicy{Mode: spec.RestartAlways}}
	var run state.Run
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var got []time.Duration
	for _, lasted := range []time.Duration{0, time.Second, 9 * time.Second, 10 * time.Second, 0} {
		begun := now
		now = now.Add(lasted)
		finish(&run, a, exit{begun, now, 1, false})
		got = append(got, delay(run.Consecutive))
		now = now.Add(delay(run.Consecutive))
		if k := kindOf(a, run, now); k != automatic {
			t.Fatalf("kind %d", k)
		}
		begin(&run, automatic, a)
	}
	want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
	if run.RestartCount != 5 {
		t.Errorf("RestartCount %d, want 5", run.RestartCount)
	}
	begin(&run, manual, a)
	if run.RestartCount != 0 || run.Consecutive != 0 {
		t.Errorf("after a start by hand: %+v", run)
	}
}

func TestOnFailureCountsToItsMaximum(t *testing.T) {
	a := plan.Annex{Restart: spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}}
	var run state.Run
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	restarts := 0
	for kindOf(a, run, now) != refused {
		if restarts++; restarts > 10 {
			t.Fatal("it never ends")
		}
		k := kindOf(a, run, now)
		begin(&run, k, a)
		finish(&run, a, exit{now, now, 1, false})
		now = now.Add(100 * time.Millisecond)
	}
	if restarts != 4 || run.RestartCount != 3 || run.Restarting {
		t.Errorf("%d runs, %+v", restarts, run)
	}
}

func TestBeginWritesOnlyChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		run  state.Run
		kind startKind
		want bool
	}{
		"the first start":    {state.Run{}, manual, false},
		"an ordinary start":  {state.Run{ExitCode: 1, FinishedAt: time.Unix(1, 0)}, manual, false},
		"stopped before":     {state.Run{Stopped: true}, manual, false},
		"an earlier failure": {state.Run{Error: "x"}, manual, true},
		"counts are zeroed":  {state.Run{RestartCount: 1}, manual, true},
		"a restart":          {state.Run{Restarting: true}, automatic, true},
	} {
		if got := begin(&tt.run, tt.kind, plan.Annex{}); got != tt.want {
			t.Errorf("%s: changed is %v", name, got)
		}
	}
}

func TestEndCode(t *testing.T) {
	for e, want := range map[end]int{
		{"exited", "0", "success", false}:      0,
		{"exited", "42", "exit-code", false}:   42,
		{"killed", "KILL", "signal", false}:    137,
		{"killed", "TERM", "success", false}:   143,
		{"dumped", "SEGV", "core-dump", false}: 139,
		{"killed", "RTMIN+1", "signal", false}: 128 + 35,
		{"", "", "resources", false}:           125,
		{"killed", "?", "signal", false}:       125,
		{"exited", "x", "exit-code", false}:    125,
	} {
		if got := e.code(); got != want {
			t.Errorf("%+v: code %d, want %d", e, got, want)
		}
	}
}

func TestCountOOM(t *testing.T) {
	for events, want := range map[string]int{
		"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n": 2,
		"low 0\noom_kill 0\n": 0, "": 0, "oom_kill\n": 0,
	} {
		if got := countOf(events, "oom_kill"); got != want {
			t.Errorf("%q: %d, want %d", events, got, want)
		}
	}
}
