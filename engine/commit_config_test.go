package engine

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

func TestOverlay(t *testing.T) {
	base := image.Config{
		User: "1", Env: []string{"A=1", "B=2"}, Entrypoint: []string{"e"}, Cmd: []string{"c"}, WorkingDir: "/w",
		Labels: map[string]string{"l": "1", "m": "1"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGINT",
	}
	with := func(change func(*image.Config)) image.Config {
		c := base.Clone()
		change(&c)
		return c
	}
	for name, tt := range map[string]struct{ over, want image.Config }{
		"nothing":    {image.Config{}, base},
		"command":    {image.Config{Cmd: []string{"d"}}, with(func(c *image.Config) { c.Cmd = []string{"d"} })},
		"entrypoint": {image.Config{Entrypoint: []string{"f"}}, with(func(c *image.Config) { c.Entrypoint, c.Cmd = []string{"f"}, nil })},
		"words": {
			image.Config{User: "2", WorkingDir: "/x", StopSignal: "SIGHUP", StopTimeout: new(3), Shell: []string{"sh"}, OnBuild: []string{"RUN x"}},
			with(func(c *image.Config) {
				c.User, c.WorkingDir, c.StopSignal, c.StopTimeout = "2", "/x", "SIGHUP", new(3)
				c.Shell, c.OnBuild = []string{"sh"}, []string{"RUN x"}
			}),
		},
		"lists": {
			image.Config{
				Env: []string{"B=3", "C="}, Labels: map[string]string{"m": "2"}, ExposedPorts: map[string]struct{}{"81/udp": {}},
				Volumes: map[string]struct{}{"/v": {}}, Healthcheck: &image.Healthcheck{Test: []string{"NONE"}},
			},
			with(func(c *image.Config) {
				c.Env, c.Labels["m"] = []string{"A=1", "B=3", "C="}, "2"
				c.ExposedPorts["81/udp"], c.Volumes = struct{}{}, map[string]struct{}{"/v": {}}
				c.Healthcheck = &image.Healthcheck{Test: []string{"NONE"}}
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := base.Clone()
			got, err := overlay(base, tt.over)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("overlay (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, base); diff != "" {
				t.Errorf("what lay below changed (-want +got):\n%s", diff)
			}
		})
	}
	for _, entry := range []string{"", "A", "=x"} {
		if _, err := overlay(base, image.Config{Env: []string{entry}}); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("variable %q: %v", entry, err)
		}
	}
}
