package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// twinFile is a web service with a database, a cache, volumes and health, a worker
// that is scaled, and a migration that ends.
const twinFile = `
services:
  web:
    image: busybox
    depends_on:
      db: {condition: service_healthy}
      cache: {condition: service_started}
      migrate: {condition: service_completed_successfully}
    environment: {GREETING: "hello $${USER}"}
    command: [sh, -c, "wget -qO- http://db/row; echo $$GREETING; trap 'exit 0' TERM; while :; do sleep 1d & wait; done"]
    restart: always
    ports: ["127.0.0.1:8099:80"]
  db:
    image: busybox
    command: [sh, -c, "exec httpd -f -p 80 -h /data"]
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 1s, timeout: 10s, retries: 60}
    networks: {default: {aliases: [database]}}
    volumes: ["data:/data", "./index.html:/data/index.html:ro"]
  cache: {image: busybox, command: ` + loop + `, tmpfs: [/cache], cap_drop: [ALL]}
  migrate:
    image: busybox
    volumes: ["data:/data"]
    depends_on: {db: {condition: service_healthy}}
    command: [sh, -c, "echo migrated >/data/row; echo done"]
  worker: {image: busybox, command: ` + loop + `, labels: {kind: worker}, stop_grace_period: 5s}
volumes: {data: {}}
`

// twin is a project that two programs bring up.
type twin struct {
	apiSite
	dir string
}

func (w twin) ours(args ...string) *exec.Cmd {
	cmd := w.cmd(append([]string{"compose", "-p", "twin", "-f", filepath.Join(w.dir, "compose.yaml")}, args...)...)
	cmd.Dir = w.dir
	return cmd
}

func (w twin) theirs(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Fatalf("%v (install docker-compose)", err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--ansi", "never", "-p", "twin", "-f", filepath.Join(w.dir, "compose.yaml")}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+w.socket, "DOCKER_CONFIG="+filepath.Join(w.root, "docker-config"), "COMPOSE_HTTP_TIMEOUT=300")
	return cmd
}

const twinFacts = `{{index .Config.Labels "com.docker.compose.service"}} {{index .Config.Labels "com.docker.compose.container-number"}} ` +
	`{{index .Config.Labels "com.docker.compose.oneoff"}} {{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{end}} ` +
	`{{.HostConfig.RestartPolicy.Name}} {{.Config.Cmd}} {{.Config.StopTimeout}} {{.HostConfig.CapDrop}} {{.HostConfig.Tmpfs}} {{.HostConfig.PortBindings}} ` +
	`{{range .Mounts}}{{.Type}}:{{.Name}}:{{.Destination}}:{{.RW}} {{end}}{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}{{index .Config.Labels "kind"}}`

// facts are what can be observed of the project, whoever has made it.
func (w twin) facts(t *testing.T) []string {
	t.Helper()
	ids := strings.Fields(w.must(t, "ps", "-aq", "--filter", "label=com.docker.compose.project=twin"))
	var facts []string
	for _, id := range ids {
		facts = append(facts, w.inspect(t, id, twinFacts)+"\n"+w.must(t, "logs", id))
	}
	facts = append(facts, "volumes "+w.must(t, "volume", "ls", "-q", "--filter", "label=com.docker.compose.volume=data"))
	facts = append(facts, "networks "+w.must(t, "network", "ls", "--filter", "label=com.docker.compose.network=default", "--format", "{{.Name}}"))
	sort.Strings(facts)
	return facts
}

func (w twin) run(t *testing.T, what string, cmd *exec.Cmd) string {
	t.Helper()
	r := finish(cmd)
	if r.code != 0 {
		t.Fatalf("%s: %v", what, r)
	}
	return r.out
}

// The distribution's docker-compose on the API and compose bring the same about,
// and each of them goes on with what the other one has made.
func TestComposeTwins(t *testing.T) {
	t.Parallel()
	w := twin{newAPISite(t), t.TempDir()}
	for name, text := range map[string]string{"compose.yaml": twinFile, "index.html": "up\n"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settled := func() {
		t.Helper()
		for _, said := range []string{"label=com.docker.compose.service=web", "label=com.docker.compose.service=cache", "label=com.docker.compose.service=worker"} {
			for _, id := range strings.Fields(w.must(t, "ps", "-aq", "--filter", said)) {
				until(t, said+" speaks", func() bool { return w.try("logs", id).out != "" })
			}
		}
	}
	w.run(t, "compose up", w.ours("up", "-d", "--scale", "worker=2"))
	settled()
	ours := w.facts(t)
	t.Run("docker-compose goes on with ours", func(t *testing.T) {
		if ids := strings.Fields(w.run(t, "ps", w.theirs(t, "ps", "-aq"))); len(ids) != 6 {
			t.Errorf("it sees %d containers, want 6", len(ids))
		}
		if out := w.run(t, "logs", w.theirs(t, "logs", "--no-color", "migrate")); !strings.Contains(out, "| done") {
			t.Errorf("logs: %q", out)
		}
		w.run(t, "stop", w.theirs(t, "stop", "-t", "5", "cache"))
		if out := w.run(t, "ps of ours", w.ours("ps", "--status", "exited", "--services")); out != "cache\nmigrate" {
			t.Errorf("after its stop, exited are %q", out)
		}
		w.run(t, "start", w.theirs(t, "start", "cache"))
		w.run(t, "down", w.theirs(t, "down", "-v", "-t", "5"))
		if left := w.facts(t); !slices.Equal(left, []string{"networks ", "volumes "}) {
			t.Errorf("its down left %q", left)
		}
	})
	w.run(t, "docker-compose up", w.theirs(t, "up", "-d", "--scale", "worker=2"))
	settled()
	theirs := w.facts(t)
	if !slices.Equal(ours, theirs) {
		t.Errorf("compose brings about\n%s\n\ndocker-compose\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	t.Run("ours goes on with docker-compose's", func(t *testing.T) {
		if out := w.run(t, "ps", w.ours("ps", "-a", "--services")); strings.Join(strings.Fields(out), " ") != "cache db migrate web worker" {
			t.Errorf("it sees %q", out)
		}
		if out := w.run(t, "logs", w.ours("logs", "--no-log-prefix", "migrate")); out != "done" {
			t.Errorf("logs: %q", out)
		}
		w.run(t, "restart", w.ours("restart", "-t", "5", "cache"))
		w.run(t, "up", w.ours("up", "-d", "--scale", "worker=2")) // takes them over, under its own names
		settled()
		if got := w.facts(t); len(got) != len(ours) {
			t.Errorf("after up of ours:\n%s", strings.Join(got, "\n"))
		}
		w.run(t, "down", w.ours("down", "-v", "-t", "5"))
		if left := w.facts(t); !slices.Equal(left, []string{"networks ", "volumes "}) {
			t.Errorf("its down left %q", left)
		}
	})
	w.clean(t)
}
