package health

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// fake is a container whose checks do what a script says, one word a check: "ok",
// "fail", "hang", "odd" (cannot be run) or "freeze" (is paused and hangs)
// or "die"; the last word stays. It writes down what happens, with the time since the start.
type fake struct {
	start  time.Time
	script []string
	paused atomic.Bool
	dying  bool
	said   []string
}

func (f *fake) say(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf("%v ", time.Since(f.start))+fmt.Sprintf(format, args...))
}

func (f *fake) probe(ctx context.Context) (int, string, error) {
	word := f.script[0]
	if len(f.script) > 1 {
		f.script = f.script[1:]
	}
	f.say("%s", word)
	switch word {
	case "ok":
		return 0, "", nil
	case "fail":
		return 7, "broken", nil
	case "odd":
		return 0, "", fmt.Errorf("no such command")
	case "die": // as the container does
		f.dying = true
		return 137, "", nil
	case "freeze":
		f.paused.Store(true)
	}
	<-ctx.Done()
	return 0, "so far", context.Cause(ctx)
}

func (f *fake) frozen() bool { return f.paused.Load() }

func (f *fake) ending() bool { return f.dying }

func (f *fake) record(h state.Health, changed bool) {
	if changed {
		f.say("is %s", h.Status)
	}
}

func (f *fake) unhealthy(context.Context) { f.say("act") }

// watch runs a monitor for some time.
func watch(t *testing.T, d time.Duration, check spec.Healthcheck, words string, before ...func(*monitor)) (*fake, state.Health) {
	t.Helper()
	f := &fake{start: time.Now(), script: strings.Fields(words)}
	m := &monitor{check: check, started: f.start, health: state.Health{Status: state.HealthStarting}, target: f}
	for _, change := range before {
		change(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	m.run(ctx)
	return f, m.health
}

func TestMonitor(t *testing.T) {
	second := spec.Healthcheck{Interval: time.Second, Timeout: 500 * time.Millisecond, Retries: 2}
	with := func(change func(*spec.Healthcheck)) spec.Healthcheck {
		h := second
		change(&h)
		return h
	}
	tests := map[string]struct {
		check spec.Healthcheck
		words string
		d     time.Duration
		want  []string
	}{
		"the first check is after an interval": {
			second, "ok", 2500 * time.Millisecond, []string{"1s ok", "1s is healthy", "2s ok"},
		},
		"Docker's defaults": {
			spec.Healthcheck{}, "fail", 121 * time.Second,
			[]string{"30s fail", "1m0s fail", "1m30s fail", "1m30s is unhealthy", "1m30s act", "2m0s fail", "2m0s act"},
		},
		"a success forgives": {
			second, "fail ok fail ok fail fail ok", 7500 * time.Millisecond,
			[]string{"1s fail", "2s ok", "2s is healthy", "3s fail", "4s ok", "5s fail", "6s fail", "6s is unhealthy", "6s act", "7s ok", "7s is healthy"},
		},
		"failures in the start period do not count": {
			with(func(h *spec.Healthcheck) { h.StartPeriod, h.StartInterval = 2*time.Second, 800*time.Millisecond }), "fail", 5 * time.Second,
			[]string{"800ms fail", "1.6s fail", "2.4s fail", "3.4s fail", "3.4s is unhealthy", "3.4s act", "4.4s fail", "4.4s act"},
		},
		"a success ends the start period": {
			with(func(h *spec.Healthcheck) { h.StartPeriod, h.StartInterval = time.Minute, 300*time.Millisecond }), "fail ok fail fail ok", 4 * time.Second,
			[]string{"300ms fail", "600ms ok", "600ms is healthy", "1.6s fail", "2.6s fail", "2.6s is unhealthy", "2.6s act", "3.6s ok", "3.6s is healthy"},
		},
		"the start interval is 5 s": {
			with(func(h *spec.Healthcheck) { h.StartPeriod = 9 * time.Second }), "ok", 6500 * time.Millisecond, []string{"5s ok", "5s is healthy", "6s ok"},
		},
		"time that runs out is a failure; the interval is from the end": {
			second, "hang", 3900 * time.Millisecond, []string{"1s hang", "2.5s hang", "3s is unhealthy", "3s act"},
		},
		"what cannot be run is a failure": {
			with(func(h *spec.Healthcheck) { h.Retries = 1 }), "odd", 1500 * time.Millisecond, []string{"1s odd", "1s is unhealthy", "1s act"},
		},
		"what is killed with the container says nothing": {
			with(func(h *spec.Healthcheck) { h.Retries = 1 }), "ok die", 2500 * time.Millisecond, []string{"1s ok", "1s is healthy", "2s die"},
		},
		"nothing counts while it is frozen": {
			with(func(h *spec.Healthcheck) { h.Retries = 1 }), "freeze ok", time.Minute, []string{"1s freeze"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _ := watch(t, tt.d, tt.check, tt.words)
				if diff := cmp.Diff(tt.want, f.said); diff != "" {
					t.Errorf("what happened (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The last five results are kept, with Docker's words.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := spec.Healthcheck{Interval: time.Second, Timeout: 100 * time.Millisecond}
		_, h := watch(t, 9*time.Second, check, "ok ok fail odd hang ok")
		var got []string
		for _, r := range h.Log {
			got = append(got, fmt.Sprintf("%v %d %s", r.End.Sub(r.Start), r.ExitCode, r.Output))
		}
		want := []string{"0s -1 no such command", "100ms -1 Health check exceeded timeout (100ms): so far", "0s 0 ", "0s 0 ", "0s 0 "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// A monitor that takes over goes on with the rhythm and the count.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := spec.Healthcheck{Interval: 10 * time.Second, Retries: 3}
		f, h := watch(t, 10*time.Second, check, "fail", func(m *monitor) {
			m.started = m.started.Add(-time.Hour)
			m.health = state.Health{
				Status: state.HealthHealthy, FailingStreak: 1,
				Log: []state.HealthResult{{End: time.Now().Add(-9 * time.Second), ExitCode: 1}},
			}
		})
		if diff := cmp.Diff([]string{"1s fail"}, f.said); diff != "" {
			t.Errorf("what happened (-want +got):\n%s", diff)
		}
		if h.FailingStreak != 2 {
			t.Errorf("%d failures in a row, want 2", h.FailingStreak)
		}
	})
}

// What is under way when the container ends says nothing.
func TestEndDuringCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := watch(t, 1100*time.Millisecond, spec.Healthcheck{Interval: time.Second, Retries: 1}, "hang")
		if h.Status != state.HealthStarting || len(h.Log) > 0 {
			t.Errorf("health is %+v", h)
		}
	})
}

func TestOutputIsClipped(t *testing.T) {
	c := &clipped{limit: 5}
	c.add([]byte("abc"))
	if got := c.String(); got != "abc" {
		t.Errorf("got %q", got)
	}
	c.add([]byte("def"))
	c.add([]byte("ghi"))
	if got := c.String(); got != "abcde..." {
		t.Errorf("got %q", got)
	}
}
