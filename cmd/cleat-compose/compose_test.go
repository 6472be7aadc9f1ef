package main

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// try runs a command line that needs neither root nor systemd.
func try(args ...string) (code int, out, stderr string) {
	var o, e bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: &o, err: &e, releaseSignals: func() {}}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetOut(&o)
	root.SetErr(&e)
	cmd, err := root.ExecuteContextC(context.Background())
	return c.report(cmd, err), o.String(), e.String()
}

func TestRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"publish":                    "cleat: compose publish is not supported: projects are files; 'cleat compose config' writes one to hand on",
		"up -d --exit-code-from web": "cleat: --abort-on-container-exit, --abort-on-container-failure and --exit-code-from need the foreground: they do not go with --detach and --wait",
		"up --wait --watch":          "cleat: --watch needs the foreground: it does not go with --detach and --wait",
		"up -d --no-attach web":      "cleat: --attach, --no-attach and --attach-dependencies need the foreground: they do not go with --detach and --wait",
		"up --abort-on-container-exit --abort-on-container-failure": "cleat: --abort-on-container-exit and --abort-on-container-failure are incompatible",
		"nonsense":                 "cleat: 'compose nonsense' is not a cleat command",
		"--compatibility up":       "cleat: --compatibility is not supported: names have dashes",
		"build --push":             "cleat: --push is not supported: push the image with 'cleat push'",
		"up --menu":                "cleat: --menu is not supported: nothing is read from the keyboard",
		"--ansi sometimes version": `cleat: --ansi "sometimes": must be never, always or auto`,
		"version --format x":       `cleat: --format "x": must be pretty or json`,
		"config --models":          "cleat: --models is not supported: services have no models",
	} {
		code, _, stderr := try(strings.Fields(line)...)
		first, _, _ := strings.Cut(stderr, "\n")
		if code == 0 || first != want {
			t.Errorf("%s: code %d, %q, want %q", line, code, first, want)
		}
	}
}

func TestHarmlessValuesOfRefusedFlags(t *testing.T) {
	for _, line := range []string{"--progress plain version", "--compatibility=false version"} {
		if code, _, stderr := try(strings.Fields(line)...); code != 0 {
			t.Errorf("%s: code %d, %s", line, code, stderr)
		}
	}
}

// Every verb has a help in Docker's form.
func TestHelp(t *testing.T) {
	for _, cmd := range newRoot(&cli{}).Commands() {
		code, out, stderr := try(cmd.Name(), "--help")
		if code != 0 || !strings.Contains(out, "Usage:  cleat compose "+cmd.Name()) || strings.Contains(out, "[flags]") {
			t.Errorf("%s: code %d, %q, %q", cmd.Name(), code, out, stderr)
		}
	}
}

// told is an engine with the output of some containers.
type told map[string][]engine.LogLine

func (l told) Logs(_ context.Context, ref string, _ engine.LogOptions) iter.Seq2[engine.LogLine, error] {
	return func(yield func(engine.LogLine, error) bool) {
		for _, line := range l[ref] {
			if !yield(line, nil) {
				return
			}
		}
		if strings.HasPrefix(ref, "bad") {
			yield(engine.LogLine{}, errors.New("no journal"))
		}
	}
}

func line(second int64, text string) engine.LogLine {
	return engine.LogLine{Time: time.Unix(second, 0), Message: []byte(text)}
}

func container(name string) engine.Container {
	var c engine.Container
	c.ID, c.Name = name, "shop-"+name
	c.Labels = map[string]string{"com.docker.compose.project": "shop"}
	return c
}

func TestLogsAreMergedByTime(t *testing.T) {
	var out bytes.Buffer
	c := &cli{out: &out, ansi: "never"}
	eng := told{"web-1": {line(1, "a"), line(4, "d")}, "cache-1": {line(2, "b"), line(3, "c"), line(5, "e")}}
	list := []engine.Container{container("web-1"), container("cache-1"), container("silent-1")}
	if err := c.logs(t.Context(), eng, list, &logFlags{}, engine.LogOptions{Tail: -1}); err != nil {
		t.Fatal(err)
	}
	want := "web-1     | a\ncache-1   | b\ncache-1   | c\nweb-1     | d\ncache-1   | e\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLogsOfFollowedContainersAllCome(t *testing.T) {
	var out bytes.Buffer
	c := &cli{out: &out, ansi: "always"}
	eng := told{"web-1": {line(1, "a")}, "db-1": {line(2, "b")}}
	err := c.logs(t.Context(), eng, []engine.Container{container("web-1"), container("db-1")}, &logFlags{}, engine.LogOptions{Follow: true, Tail: -1})
	if err != nil || !strings.Contains(out.String(), "\x1b[36mweb-1  | \x1b[0ma\n") || !strings.Contains(out.String(), "\x1b[33mdb-1   | \x1b[0mb\n") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestLogsThatCannotBeReadAreAnError(t *testing.T) {
	c := &cli{out: &bytes.Buffer{}}
	for _, follow := range []bool{false, true} {
		err := c.logs(t.Context(), told{}, []engine.Container{container("bad-1")}, &logFlags{}, engine.LogOptions{Follow: follow})
		if err == nil || !strings.Contains(err.Error(), "no journal") {
			t.Errorf("follow %v: %v", follow, err)
		}
	}
}
