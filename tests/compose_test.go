package tests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// project is a directory with a compose file, and the host on which it runs.
type project struct {
	netSite
	dir  string
	name string
}

// newProject writes a compose file. The project is taken down with the test.
func (s netSite) newProject(t *testing.T, name, file string) project {
	t.Helper()
	p := project{s, t.TempDir(), name}
	p.write(t, file)
	t.Cleanup(func() { p.compose("down", "-v", "--remove-orphans", "-t", "0") })
	return p
}

func (p project) write(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "compose.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p project) cmd(args ...string) *exec.Cmd {
	cmd := p.site.cmd(append([]string{"compose", "-p", p.name}, args...)...)
	cmd.Dir = p.dir
	return cmd
}

func (p project) compose(args ...string) result { return finish(p.cmd(args...)) }

// mustCompose runs a verb that has to succeed and returns its output.
func (p project) mustCompose(t *testing.T, args ...string) string {
	t.Helper()
	r := p.compose(args...)
	if r.code != 0 {
		t.Fatalf("compose %s: %v", strings.Join(args, " "), r)
	}
	return r.out
}

// ids returns the ids and states of the project's containers by name.
func (p project) ids(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for line := range strings.Lines(p.must(t, "ps", "-a", "--no-trunc", "--filter", "label=com.docker.compose.project="+p.name, "--format", "{{.Names}} {{.ID}} {{.State}}")) {
		name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		ids[name] = id
	}
	return ids
}

// running lists the names of the project's containers that run, sorted.
func (p project) running(t *testing.T) []string {
	t.Helper()
	out := p.must(t, "ps", "--filter", "label=com.docker.compose.project="+p.name, "--format", "{{.Names}}")
	names := strings.Fields(out)
	slices.Sort(names)
	return names
}

// answers fails the test unless the peer at addr says that it is host.
func answers(t *testing.T, who asker, addr, host string) {
	t.Helper()
	if got, err := who("tcp", addr); err != nil || !strings.HasPrefix(got, host+" ") {
		t.Errorf("%s answers %q, %v, want %q", addr, got, err, host)
	}
}

// loop is a payload that ends at once when it is told to, and says that it is up.
const loop = `["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 1d & wait; done"]`

const shopFile = `
services:
  web:
    image: peer
    hostname: web
    networks: [front, back]
    depends_on: [db, cache]
    ports: ["8080:80"]
    restart: always
  db:
    image: peer
    hostname: db
    networks: [back]
    volumes: ["data:/data"]
    restart: always
  cache:
    image: peer
    hostname: cache
    networks: [back]
    restart: unless-stopped
  worker:
    image: busybox
    command: ` + loop + `
    networks: [back]
    scale: 2
networks: {front: {}, back: {internal: true}}
volumes: {data: {}}
`

func TestComposeProject(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "my-shop", shopFile)
	p.mustCompose(t, "up", "-d")
	for _, name := range []string{"web", "db", "cache"} {
		s.listening(t, "my-shop-"+name+"-1")
	}
	t.Run("services know each other by name", func(t *testing.T) {
		web := s.in("my-shop-web-1")
		answers(t, web, "db:80", "db")
		answers(t, web, "cache:80", "cache")
		answers(t, s.in("my-shop-db-1"), "web:80", "web")
		answers(t, from(t, s.lan), hostLAN4+":8080", "web")
	})
	t.Run("labels are Docker's", func(t *testing.T) {
		for key, want := range map[string]string{"project": "my-shop", "service": "web", "container-number": "1", "oneoff": "False", "project.working_dir": p.dir} {
			if got := s.inspect(t, "my-shop-web-1", fmt.Sprintf(`{{index .Config.Labels "com.docker.compose.%s"}}`, key)); got != want {
				t.Errorf("label %s is %q, want %q", key, got, want)
			}
		}
		if got := s.must(t, "network", "inspect", "-f", `{{index .Labels "com.docker.compose.network"}}`, "my-shop_back"); got != "back" {
			t.Errorf("label of the network is %q", got)
		}
	})
	t.Run("a second up does nothing", func(t *testing.T) {
		before := p.ids(t)
		if r := p.compose("up", "-d"); r.code != 0 || r.stderr != "" || r.out != "" {
			t.Errorf("second up: %v", r)
		}
		if after := p.ids(t); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("containers were %v and are %v", before, after)
		}
	})
	t.Run("scale", func(t *testing.T) {
		before := p.ids(t)
		p.mustCompose(t, "scale", "worker=4")
		p.mustCompose(t, "up", "-d", "--scale", "worker=1")
		after := p.ids(t)
		delete(before, "my-shop-worker-2")
		if fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("containers are %v, want %v", after, before)
		}
	})
	t.Run("what has changed is replaced", func(t *testing.T) {
		before := p.ids(t)
		p.write(t, strings.Replace(shopFile, "hostname: cache", "hostname: kasse", 1))
		p.mustCompose(t, "up", "-d", "--scale", "worker=1")
		s.listening(t, "my-shop-cache-1")
		answers(t, s.in("my-shop-web-1"), "cache:80", "kasse")
		after := p.ids(t)
		if after["my-shop-cache-1"] == before["my-shop-cache-1"] || after["my-shop-db-1"] != before["my-shop-db-1"] || len(after) != len(before) {
			t.Errorf("containers were %v and are %v", before, after)
		}
	})
	t.Run("units are ordered and in a slice", func(t *testing.T) {
		after := s.systemctl(t, "show", "-P", "After", "cleat-my-shop-web-1.service")
		if !strings.Contains(after, "cleat-my-shop-db-1.service") || !strings.Contains(after, "cleat-my-shop-cache-1.service") {
			t.Errorf("web is after %s", after)
		}
		if got := s.systemctl(t, "show", "-P", "Slice", "cleat-my-shop-web-1.service"); got != "cleat-my.shop.slice" {
			t.Errorf("slice %q", got)
		}
	})
	t.Run("stopping the slice stops the project", func(t *testing.T) {
		s.run(t, "bystander", "busybox", "sleep", "1d")
		s.systemctl(t, "stop", "cleat-my.shop.slice")
		if names := p.running(t); len(names) > 0 {
			t.Errorf("%q run", names)
		}
		if got := s.inspect(t, "bystander", "{{.State.Status}}"); got != "running" {
			t.Errorf("the bystander is %s", got)
		}
		p.mustCompose(t, "up", "-d", "--scale", "worker=1")
		want := []string{"my-shop-cache-1", "my-shop-db-1", "my-shop-web-1", "my-shop-worker-1"}
		if got := p.running(t); !slices.Equal(got, want) {
			t.Errorf("after up %q run, want %q", got, want)
		}
	})
	t.Run("down", func(t *testing.T) {
		p.mustCompose(t, "down", "-t", "0")
		if ids := p.ids(t); len(ids) > 0 {
			t.Errorf("left: %v", ids)
		}
		if out := s.must(t, "volume", "ls", "-q"); out != "my-shop_data" {
			t.Errorf("volumes: %q", out)
		}
		if r := p.compose("down", "-v"); r.code != 0 || s.must(t, "volume", "ls", "-q") != "" {
			t.Errorf("down -v: %v", r)
		}
	})
	s.clean(t)
}

const migrationFile = `
services:
  web:
    image: busybox
    command: ` + loop + `
    depends_on: {migrate: {condition: service_completed_successfully}}
  migrate:
    image: busybox
    command: ["sh", "-c", "%s"]
    volumes: ["data:/data"]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: ["sh", "-c", "sleep 1; touch /ready; trap 'exit 0' TERM; while :; do sleep 1d & wait; done"]
    healthcheck: {test: "test -e /ready", interval: 100ms, start_interval: 100ms, start_period: 30s}
volumes: {data: {}}
`

func TestComposeConditions(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "cond", fmt.Sprintf(migrationFile, "exit 7"))
	r := p.compose("up", "-d")
	if r.code != 1 || !strings.Contains(r.stderr, "cond-migrate-1: it ended with exit code 7") {
		t.Errorf("up with a migration that fails: %v", r)
	}
	plain(t, r.stderr)
	if got := s.inspect(t, "cond-web-1", "{{.State.Status}}"); got != "created" {
		t.Errorf("web is %s", got)
	}
	p.write(t, fmt.Sprintf(migrationFile, "echo done >/data/done"))
	p.mustCompose(t, "up", "-d", "--wait")
	if got := s.inspect(t, "cond-web-1", "{{.State.Status}}"); got != "running" {
		t.Errorf("web is %s", got)
	}
	p.mustCompose(t, "restart", "db") // to whose unit that of web refers
	if got := s.inspect(t, "cond-db-1", "{{.State.Status}}") + s.inspect(t, "cond-web-1", "{{.State.Status}}"); got != "runningrunning" {
		t.Errorf("db and web after a restart of db: %s", got)
	}
	if got := p.mustCompose(t, "run", "--rm", "-T", "migrate", "cat", "/data/done"); got != "done" {
		t.Errorf("the volume has %q", got)
	}
	if r := p.compose("run", "--rm", "-T", "--no-deps", "web", "sh", "-c", "exit 5"); r.code != 5 {
		t.Errorf("run: %v", r)
	}
	p.mustCompose(t, "down", "-v", "-t", "0")
	s.clean(t)
}

// Images are built where a service says how and there is none yet, or on request.
func TestComposeBuild(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "built", "")
	write := func(arg string) {
		p.write(t, `
services:
  one: {build: {context: ., dockerfile_inline: "FROM busybox\nCMD [\"echo\", \"inline\"]\n"}}
  two: {build: {context: ., args: {X: "`+arg+`"}}, image: two, command: [cat, /x]}
`)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "Dockerfile"), []byte("FROM busybox\nARG X\nRUN echo $X >/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("1")
	if out := p.mustCompose(t, "--dry-run", "up", "-d"); !strings.Contains(out, "build image built-one: cleat build --tag built-one --file - -- "+p.dir) {
		t.Errorf("dry run: %s", out)
	}
	p.mustCompose(t, "up", "-d")
	before := p.ids(t)
	write("2")
	p.mustCompose(t, "up", "-d") // the image is there
	p.mustCompose(t, "up", "-d", "--build")
	id := func(ids map[string]string, name string) string { return strings.Fields(ids[name])[0] }
	if after := p.ids(t); id(after, "built-two-1") == id(before, "built-two-1") || id(after, "built-one-1") != id(before, "built-one-1") {
		t.Errorf("containers were %v and are %v", before, after)
	}
	until(t, "two says 2", func() bool { return p.compose("logs", "--no-log-prefix", "two").out == "2" })
	p.mustCompose(t, "down", "--rmi", "all", "-t", "0")
	if out := s.must(t, "images", "-q", "--filter", "reference=built-one"); out != "" {
		t.Errorf("images left: %s", out)
	}
	s.clean(t)
}

// A new container that cannot start leaves the old one running.
func TestComposeFailedReplacement(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	file := "services: {web: {image: busybox, command: %s}}\n"
	p := s.newProject(t, "back", fmt.Sprintf(file, loop))
	p.mustCompose(t, "up", "-d")
	before := p.ids(t)
	p.write(t, fmt.Sprintf(file, `["/no/such/program"]`))
	r := p.compose("up", "-d")
	if r.code != 1 || !strings.Contains(r.stderr, "/no/such/program") {
		t.Errorf("up: %v", r)
	}
	plain(t, r.stderr)
	if after := p.ids(t); fmt.Sprint(after) != fmt.Sprint(before) || len(p.running(t)) != 1 {
		t.Errorf("containers were %v and are %v; %q run", before, after, p.running(t))
	}
	p.mustCompose(t, "down", "-t", "0")
	s.clean(t)
}

// Whenever "up" or "down" is killed, the next "up" brings everything up, and
// nothing more.
func TestComposeKilled(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	files := []string{shopFile, strings.ReplaceAll(shopFile, "restart:", "init: false\n    labels: {again: 'yes'}\n    restart:")}
	p := s.newProject(t, "killed", shopFile)
	want := []string{"killed-cache-1", "killed-db-1", "killed-web-1", "killed-worker-1", "killed-worker-2"}
	for i := range 8 {
		p.write(t, files[i%2])
		args := []string{"up", "-d"}
		if i%4 == 3 {
			args = []string{"down", "-t", "0"}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(700))*time.Millisecond)
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, filepath.Join(env.bin, "cleat"), append([]string{"--root", s.root, "compose", "-p", p.name}, args...)...)
		cmd.Dir, cmd.Stderr = p.dir, &stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
		_ = cmd.Run()
		cancel()
		r := p.compose("up", "-d")
		if r.code != 0 {
			t.Fatalf("round %d (%s killed after %q): %v\n%s", i, args[0], stderr.String(), r, s.must(t, "host", "logs", "-n", "60"))
		}
		if got := p.running(t); !slices.Equal(got, want) {
			t.Fatalf("round %d (%s killed after %q): %q run, want %q", i, args[0], stderr.String(), got, want)
		}
		if ids := p.ids(t); len(ids) != len(want) {
			t.Fatalf("round %d: containers %v", i, ids)
		}
		s.listening(t, "killed-db-1")
		s.listening(t, "killed-web-1")
		answers(t, s.in("killed-web-1"), "db:80", "db")
	}
	p.mustCompose(t, "down", "-v", "-t", "0")
	s.must(t, "system", "check", "--repair")
	s.clean(t)
}

func TestComposeRefusals(t *testing.T) {
	s := shared()
	dir := t.TempDir()
	path := filepath.Join(dir, "compose.yaml")
	tests := map[string]struct {
		file string
		args []string
		want string
	}{
		"an attribute":    {"services: {web: {image: busybox, gpus: all}}\n", []string{"up", "-d"}, path + ":1: services.web.gpus"},
		"version 1":       {"web:\n  image: busybox\n", []string{"up", "-d"}, "version 1"},
		"no build":        {"services: {web: {build: .}}\n", []string{"up", "-d", "--no-build"}, "services.web.build"},
		"a cache":         {"services: {web: {build: {context: ., cache_from: [x]}}}\n", []string{"build"}, "services.web.build.cache_from"},
		"--push":          {"services: {web: {image: busybox}}\n", []string{"build", "--push"}, "cleat: --push is not supported"},
		"a verb":          {"services: {web: {image: busybox}}\n", []string{"publish"}, "compose publish is not supported"},
		"no such service": {"services: {web: {image: busybox}}\n", []string{"up", "-d", "db"}, `no such service: "db"`},
		"no such verb":    {"services: {web: {image: busybox}}\n", []string{"upp"}, "is not a cleat command"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			r := s.try(append([]string{"compose", "-f", path, "-p", "refused"}, tt.args...)...)
			if r.code == 0 || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("%v, want %q", r, tt.want)
			}
			plain(t, r.stderr)
		})
	}
}
