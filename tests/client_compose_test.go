package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// compose1 returns a command of the distribution's docker-compose about a project
// file of testdata/clients.
func (s apiSite) compose1(t *testing.T, file string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Fatalf("%v (install docker-compose)", err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--ansi", "never", "-p", "proj", "-f", "testdata/clients/" + file}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.socket, "DOCKER_CONFIG="+filepath.Join(s.root, "docker-config"), "COMPOSE_HTTP_TIMEOUT=300")
	return cmd
}

// TestDockerCompose leads a project of three services through its life with the
// distribution's docker-compose.
func TestDockerCompose(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	const file = "docker-compose.yml"
	if r := finish(s.compose1(t, file, "up", "-d")); r.code != 0 {
		t.Fatalf("docker-compose up: %v", r)
	}
	for name, text := range map[string]string{"proj_api_1": "data", "proj_web_1": "linked"} {
		until(t, name+" says "+text, func() bool { return s.must(t, "logs", name) == text })
	}
	for _, st := range []struct {
		line  string // words, as in a step
		stdin string
		code  int
		out   string // regular expression of a part of stdout
	}{
		{line: "ps", out: `(?s)proj_api_1 .* Up .*proj_db_1 .* Up \(healthy\).*proj_web_1 .* Up +127\.0\.0\.1:8090->80/tcp`},
		{line: "logs --no-color", out: `(?m)^api_1  \| data$`},
		{line: "logs --no-color web", out: `(?m)^web_1  \| linked$`},
		{line: "up -d --no-recreate --scale api=3"},
		{line: "ps -q api", out: `^(` + anyID + `\n){3}$`},
		{line: "exec -T --index=3 api sh -c echo_$KIND;exit_4", out: "^api\n$", code: 4},
		{line: "exec -T api cat", stdin: "through\n", out: "^through\n$"},
		{line: "run --rm -T api sh -c cat;wget_-qO-_http://service/||echo_no_server;exit_3", stdin: "piped\n", out: "^piped\nno server\n$", code: 3},
		{line: "top db", out: "httpd -f -p 80"},
		{line: "images db", out: `proj_db_1 +busybox +latest`},
		{line: "port web 80", out: `^127\.0\.0\.1:8090\n$`},
		{line: "pause web"},
		{line: "unpause web"},
		{line: "stop -t 0 db"},
		{line: "ps db", out: `Exit 137`},
		{line: "restart -t 0"},
		{line: "up -d --scale api=1"},
		{line: "ps -q api", out: `^` + anyID + `\n$`},
		{line: "rm -fs web", out: ""},
		{line: "down -v"},
	} {
		cmd := s.compose1(t, file, words(st.line)...)
		cmd.Stdin = strings.NewReader(st.stdin)
		r := finish(cmd)
		if r.code != st.code || !regexp.MustCompile(st.out).MatchString(r.out+"\n") {
			t.Fatalf("docker-compose %s: %v\nwant exit code %d, output %q", st.line, r, st.code, st.out)
		}
	}
	s.nothingOfCompose(t)
}

// TestDockerComposeFollows runs projects in the foreground, where docker-compose
// follows logs and events, and works on a terminal.
func TestDockerComposeFollows(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	if r := finish(s.compose1(t, "docker-compose-abort.yml", "up", "--abort-on-container-exit", "--exit-code-from", "ends")); r.code != 7 || !strings.Contains(r.out, "| bye") {
		t.Errorf("docker-compose up --abort-on-container-exit: %v\nwant exit code 7", r)
	}
	s.steps(t, []step{{line: "ps -aq --filter status=running", out: ""}})
	if r := finish(s.compose1(t, "docker-compose-abort.yml", "down")); r.code != 0 {
		t.Errorf("docker-compose down: %v", r)
	}

	const file = "docker-compose.yml"
	up := s.compose1(t, file, "up", "--no-color")
	follow(t, up).expect(t, "web_1  | linked")
	events := follow(t, s.compose1(t, file, "events"))
	until(t, "docker-compose tells of a command in the container", func() bool {
		s.must(t, "exec", "proj_api_1", "true")
		return events.has("container exec_start: true")
	})
	for _, args := range [][]string{{"exec", "api", "sh"}, {"run", "--rm", "api", "sh"}} {
		sh := onTerminal(t, s.compose1(t, file, args...))
		sh.expect(t, "# ")
		sh.send(t, "tty; echo is-$((1+1)); exit 6\n")
		sh.expect(t, "/dev/pts/0")
		sh.expect(t, "is-2")
		if code := sh.wait(); code != 6 {
			t.Errorf("docker-compose %s on a terminal ends with %d, want 6", args[0], code)
		}
	}
	if err := up.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("docker-compose up, interrupted: %v", err)
	}
	s.steps(t, []step{{line: "ps -q", out: ""}})
	if r := finish(s.compose1(t, file, "down", "-v")); r.code != 0 {
		t.Errorf("docker-compose down: %v", r)
	}
	s.nothingOfCompose(t)
}

// has reports whether one of the lines that have come so far has a text in it, and
// drops them.
func (l lines) has(text string) bool {
	for found := false; ; {
		select {
		case line, ok := <-l.ch:
			if found = found || strings.Contains(line, text); ok {
				continue
			}
		default:
		}
		return found
	}
}

// nothingOfCompose fails the test if a project has left something behind.
func (s apiSite) nothingOfCompose(t *testing.T) {
	t.Helper()
	s.steps(t, []step{
		{line: "ps -aq", out: ""},
		{line: "network ls -q --filter type=custom", out: ""},
		{line: "volume ls -q", out: ""},
	})
	s.clean(t)
}
