package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

func TestCommitConfig(t *testing.T) {
	t.Parallel()
	grace := 90 * time.Second
	c := spec.Container{
		Process:    spec.Process{Entrypoint: []string{"/init"}, Cmd: []string{"a", "b"}, Env: []string{"PATH=/bin", "X=y"}, User: "u", Dir: "/w"},
		Labels:     map[string]string{"k": "v"},
		StopSignal: "SIGQUIT", StopTimeout: &grace,
		Mounts: []spec.Mount{
			{Type: spec.MountVolume, Source: "id", Target: "/anon", Anonymous: true}, {Type: spec.MountVolume, Source: "named", Target: "/named"},
			{Type: spec.MountBind, Source: "/host", Target: "/bind"}, {Type: spec.MountTmpfs, Target: "/tmp"},
		},
	}
	base := image.Config{
		Cmd: []string{"old"}, Env: []string{"PATH=/old"}, User: "old", OnBuild: []string{"RUN x"}, Shell: []string{"/bin/ash"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Healthcheck: &image.Healthcheck{Test: []string{"CMD", "x"}}, Volumes: map[string]struct{}{"/old": {}},
	}
	seconds := 90
	want := image.Config{
		Entrypoint: []string{"/init"}, Cmd: []string{"a", "b"}, Env: []string{"PATH=/bin", "X=y"}, User: "u", WorkingDir: "/w",
		Labels: map[string]string{"k": "v"}, StopSignal: "SIGQUIT", StopTimeout: &seconds,
		OnBuild: []string{"RUN x"}, Shell: []string{"/bin/ash"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
		Healthcheck: &image.Healthcheck{Test: []string{"CMD", "x"}}, Volumes: map[string]struct{}{"/old": {}, "/anon": {}},
	}
	got := commitConfig(c, base)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commitConfig (-want +got):\n%s", diff)
	}
	if len(base.Volumes) != 1 {
		t.Errorf("the image's own configuration has changed: %+v", base)
	}
	// What a change adds must not reach the container's record.
	if err := image.ApplyChanges(&got, []string{"LABEL new=1", "ENV X=z"}); err != nil {
		t.Fatal(err)
	}
	if len(c.Labels) != 1 || c.Process.Env[1] != "X=y" {
		t.Errorf("the container has changed: %+v", c)
	}
}

func TestCommitName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"": true, "app": true, "reg.example:5000/a/b:v1": true, "BAD": false, "a b": false,
		"app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": false,
	} {
		if _, err := commitName(name); (err == nil) != ok {
			t.Errorf("commitName(%q): %v", name, err)
		}
	}
}
