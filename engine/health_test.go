package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// What the user has not said is the image's, as in Docker.
func TestFillHealth(t *testing.T) {
	t.Parallel()
	cfg := image.Config{
		Shell:       []string{"/bin/ash", "-ec"},
		Healthcheck: &image.Healthcheck{Test: []string{"CMD-SHELL", "image"}, Interval: time.Second, Timeout: 2 * time.Second, StartPeriod: 3, StartInterval: 4, Retries: 5},
	}
	cfg.Healthcheck.StartPeriod, cfg.Healthcheck.StartInterval = 3*time.Second, 4*time.Second
	whole := spec.Healthcheck{
		Test: []string{"CMD-SHELL", "image"}, Shell: cfg.Shell, Interval: time.Second, Timeout: 2 * time.Second,
		StartPeriod: 3 * time.Second, StartInterval: 4 * time.Second, Retries: 5,
	}
	with := func(change func(h *spec.Healthcheck)) *spec.Healthcheck {
		h := whole
		change(&h)
		return &h
	}
	for name, tt := range map[string]struct {
		user *spec.Healthcheck
		cfg  image.Config
		want *spec.Healthcheck
		argv string
	}{
		"nothing at all":          {nil, image.Config{}, nil, ""},
		"the image's":             {nil, cfg, &whole, "/bin/ash -ec image"},
		"the user's interval":     {&spec.Healthcheck{Interval: time.Minute}, cfg, with(func(h *spec.Healthcheck) { h.Interval = time.Minute }), "/bin/ash -ec image"},
		"the user's command":      {&spec.Healthcheck{Test: []string{"CMD", "a", "b"}}, cfg, with(func(h *spec.Healthcheck) { h.Test = []string{"CMD", "a", "b"} }), "a b"},
		"none":                    {&spec.Healthcheck{Test: []string{"NONE"}}, cfg, with(func(h *spec.Healthcheck) { h.Test = []string{"NONE"} }), ""},
		"an image without any":    {&spec.Healthcheck{Test: []string{"CMD-SHELL", "x"}}, image.Config{}, &spec.Healthcheck{Test: []string{"CMD-SHELL", "x"}}, "/bin/sh -c x"},
		"an image of odd habits":  {nil, image.Config{Healthcheck: &image.Healthcheck{Test: []string{"HTTP", "/"}}}, &spec.Healthcheck{Test: []string{"HTTP", "/"}}, ""},
		"a command without words": {nil, image.Config{Healthcheck: &image.Healthcheck{Test: []string{"CMD"}}}, &spec.Healthcheck{Test: []string{"CMD"}}, ""},
	} {
		c := spec.Container{Healthcheck: tt.user}
		if err := fillHealth(&c, tt.cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, c.Healthcheck); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if argv := strings.Join(c.Healthcheck.Argv(), " "); argv != tt.argv {
			t.Errorf("%s: command %q, want %q", name, argv, tt.argv)
		}
	}
	c := spec.Container{}
	if err := fillHealth(&c, image.Config{Healthcheck: &image.Healthcheck{Retries: -1}}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("a hostile image: %v", err)
	}
}

// The record of an earlier run says nothing about this one, but its results stay.
func TestHealthOfARun(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	st, err := state.Open(root, root+"/run")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{state: st}
	c := spec.Container{ID: strings.Repeat("ab", 32), Healthcheck: &spec.Healthcheck{Test: []string{"CMD", "true"}}}
	record := Health{Run: "this", Status: state.HealthHealthy, FailingStreak: 1, Log: []state.HealthResult{{ExitCode: 1}}}
	if err := st.SaveHealth(c.ID, record); err != nil {
		t.Fatal(err)
	}
	health := func(status Status, run string) *Health {
		t.Helper()
		s, err := st.SaveStarting(c.ID, state.Live{InvocationID: run})
		if err == nil {
			err = s.Confirm()
		}
		v := Container{Container: c, Status: status}
		if status != StatusCreated {
			v.Run.StartedAt = time.Now()
		}
		if err := errors.Join(err, e.addHealth(&v)); err != nil {
			t.Fatal(err)
		}
		return v.Health
	}
	over, begun := record, record
	over.Status = state.HealthUnhealthy
	begun.Status, begun.FailingStreak = state.HealthStarting, 0
	for name, diff := range map[string]string{
		"runs":        cmp.Diff(&record, health(StatusRunning, "this")),
		"is paused":   cmp.Diff(&record, health(StatusPaused, "this")),
		"runs anew":   cmp.Diff(&begun, health(StatusRunning, "next")),
		"has ended":   cmp.Diff(&over, health(StatusExited, "this")),
		"never began": cmp.Diff((*Health)(nil), health(StatusCreated, "this")),
	} {
		if diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
