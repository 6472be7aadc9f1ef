package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The output of a project in the foreground, and what ends it.
func TestComposeForeground(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "fg", `
services:
  short: {image: busybox, command: [sh, -c, "echo from short; exit 3"], depends_on: [long]}
  long: {image: busybox, command: `+loop+`}
  silent: {image: busybox, command: [sh, -c, "echo secret"], attach: false}
`)
	tests := map[string]struct {
		args     string
		code     int
		has, not []string
	}{
		"the first end ends all":           {"--abort-on-container-exit --no-attach silent long short", 3, []string{"short-1  | from short", "long-1   | up", "short-1 exited with code 3"}, []string{"secret"}},
		"a failure ends all":               {"--abort-on-container-failure", 3, []string{"short-1  | from short"}, []string{"secret"}},
		"the code of a service":            {"--exit-code-from short short", 3, []string{"from short"}, []string{"up"}},
		"the code of a service that lived": {"--exit-code-from long short long", 0, []string{"from short", "up"}, nil},
		"one of them is shown":             {"--attach long --abort-on-container-failure", 3, []string{"long-1  | up"}, []string{"from short"}},
		"one of them is not shown":         {"--no-attach long --abort-on-container-failure", 3, []string{"from short"}, []string{"| up"}},
		"dependencies are shown on demand": {"--attach-dependencies --abort-on-container-failure short", 3, []string{"from short", "| up"}, []string{"secret"}},
	}
	for name, tt := range tests {
		r := p.compose(append([]string{"up"}, strings.Fields(tt.args)...)...)
		if r.code != tt.code {
			t.Errorf("%s: %v, want exit code %d", name, r, tt.code)
		}
		for _, text := range tt.has {
			if !strings.Contains(r.out, text) {
				t.Errorf("%s: printed %q, want %q", name, r.out, text)
			}
		}
		for _, text := range tt.not {
			if strings.Contains(r.out, text) {
				t.Errorf("%s: printed %q, with %q", name, r.out, text)
			}
		}
		if names := p.running(t); len(names) > 0 {
			t.Errorf("%s: %q still run", name, names)
		}
	}
	for args, want := range map[string]string{"--exit-code-from nobody": `no such service: "nobody"`, "--attach nobody": `no such service: "nobody"`} {
		if r := p.compose(append([]string{"up"}, strings.Fields(args)...)...); r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("up %s: %v, want %q", args, r, want)
		}
	}
	p.mustCompose(t, "down", "-t", "0")
	s.clean(t)
}

// A service's container is reached by the verbs that are those of one container.
func TestComposeOfOne(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "one", "services: {web: {image: busybox, command: "+loop+", scale: 2}, echo: {image: busybox, command: [cat], stdin_open: true}}\n")
	p.mustCompose(t, "up", "-d")
	p.mustCompose(t, "exec", "-T", "--index", "2", "web", "sh", "-c", "echo two >/made")
	p.mustCompose(t, "commit", "--index", "2", "-m", "why", "web", "one-committed")
	if out := s.must(t, "run", "--rm", "--network", "none", "one-committed", "cat", "/made"); out != "two" {
		t.Errorf("the image has %q", out)
	}
	archive := filepath.Join(p.dir, "web.tar")
	p.mustCompose(t, "export", "--index", "2", "-o", archive, "web")
	if out, err := exec.Command("tar", "-xOf", archive, "made").Output(); err != nil || string(out) != "two\n" {
		t.Errorf("the archive has %q, %v", out, err)
	}
	cmd := p.cmd("attach", "echo")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out heard
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("to the container\n")); err != nil {
		t.Fatal(err)
	}
	until(t, "attach echoes", out.has("to the container"))
	p.mustCompose(t, "stop", "-t", "0") // the end of the container is that of attach
	_ = cmd.Wait()
	p.mustCompose(t, "start", "--wait", "web")
	if got := p.running(t); len(got) != 2 {
		t.Errorf("%q run", got)
	}
	if out := p.mustCompose(t, "events", "--since", "1h", "--until", "0s", "web"); !strings.Contains(out, "container start ") || strings.Contains(out, "one-echo-1") {
		t.Errorf("events: %q", out)
	}
	for filter, want := range map[string]string{"name=on": "one", "name=other": ""} {
		if out := p.mustCompose(t, "ls", "-q", "--filter", filter); out != want {
			t.Errorf("ls --filter %s: %q, want %q", filter, out, want)
		}
	}
	if out := p.mustCompose(t, "--dry-run", "export", "web"); !strings.HasPrefix(out, "cleat export ") {
		t.Errorf("dry run: %q", out)
	}
	s.must(t, "rmi", "-f", "one-committed")
}

// heard is output that is looked at while it is written.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *heard) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *heard) has(text string) func() bool { return func() bool { return l.count(text) > 0 } }

func (l *heard) twice(text string) func() bool { return func() bool { return l.count(text) > 1 } }

func (l *heard) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Changes of files reach the containers.
func TestComposeWatch(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "seen", `
services:
  web:
    build: {context: ., dockerfile_inline: "FROM busybox\nCOPY version /version\nCMD [\"sh\", \"-c\", \"echo version $$(cat /version); trap 'exit 0' TERM; while :; do sleep 1d & wait; done\"]\n"}
    develop:
      watch:
        - {path: src, action: sync, target: /app, initial_sync: true, ignore: ["*.o"]}
        - {path: conf, action: sync+restart, target: /conf}
        - {path: hook, action: sync+exec, target: /hook, exec: {command: [sh, -c, "cat /hook/x >/hooked"]}}
        - {path: version, action: rebuild}
`)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(p.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"src/first", "src/first.o", "conf/x", "hook/x"} {
		write(name, "1")
	}
	write("version", "one")
	var out heard
	cmd := p.cmd("up", "--watch", "-t", "0")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-ended
		if names := p.running(t); len(names) > 0 {
			t.Errorf("%q run after an interruption", names)
		}
		if t.Failed() {
			t.Logf("up --watch: %s", out.b.String())
		}
	}()
	cat := func(file string) string { return s.try("exec", "seen-web-1", "cat", file).out }
	until(t, "up --watch watches", out.has("Watch enabled"))
	until(t, "the first version", out.has("| version one"))
	if cat("/app/first") != "1" || cat("/app/first.o") != "" {
		t.Error("the initial files are not as they should")
	}
	write("src/deep/new", "2")
	until(t, "a new file", func() bool { return cat("/app/deep/new") == "2" })
	if err := os.RemoveAll(filepath.Join(p.dir, "src/deep")); err != nil {
		t.Fatal(err)
	}
	until(t, "a removed directory", func() bool { return s.try("exec", "seen-web-1", "ls", "/app/deep").code != 0 })
	write("hook/x", "called")
	until(t, "a command", func() bool { return cat("/hooked") == "called" })
	started := s.inspect(t, "seen-web-1", "{{.State.StartedAt}}")
	write("conf/x", "new")
	until(t, "a restart", func() bool {
		return s.try("inspect", "-f", "{{.State.Running}} {{.State.StartedAt}}", "seen-web-1").out != "true "+started && cat("/conf/x") == "new"
	})
	until(t, "the output after a restart", out.twice("| version one"))
	write("version", "two")
	until(t, "the next version", out.has("| version two"))
	if cat("/version") != "two" {
		t.Error("the image is not the new one")
	}
}
