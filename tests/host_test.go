package tests

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// client is a command that goes on while a test does other things.
type client struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	ended chan struct{}
	code  int
}

// begin starts a command and collects its output, stdout and stderr alike.
func (s site) begin(t testing.TB, in io.Reader, args ...string) *client {
	t.Helper()
	c := &client{cmd: s.cmd(args...), ended: make(chan struct{})}
	r, w := io.Pipe()
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, w, w
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); <-c.ended })
	go func() {
		_ = c.cmd.Wait()
		_ = w.Close()
	}()
	go func() {
		defer close(c.ended)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, lines.Text())
			c.mu.Unlock()
		}
		c.code = c.cmd.ProcessState.ExitCode()
	}()
	return c
}

// text returns what it has printed so far.
func (c *client) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// end waits for its end and returns its exit code.
func (c *client) end() int {
	<-c.ended
	return c.code
}

// TestReload reloads and re-executes systemd under running containers: nothing
// happens to them, their outputs, or those who watch.
func TestReload(t *testing.T) {
	s := shared()
	const counter = `i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i; usleep 20000; done; exit 7`
	s.run(t, "reload-once", "busybox", "sh", "-c", counter)
	s.run(t, "reload-service", "--restart=on-failure:1", "busybox", "sh", "-c", counter)
	s.run(t, "reload-boot", "--restart=always", "--device", "/dev/fuse", "busybox", "sh", "-c", counter)
	names := []string{"reload-once", "reload-service", "reload-boot"}
	pids := map[string]string{}
	clients := map[string][]*client{}
	for _, n := range names {
		pids[n] = s.inspect(t, n, "{{.State.Pid}} {{.State.StartedAt}}")
		clients[n] = []*client{s.begin(t, nil, "attach", "--no-stdin", n), s.begin(t, nil, "logs", "-f", n)}
	}
	for _, what := range []string{"daemon-reload", "daemon-reexec", "daemon-reload"} {
		s.systemctl(t, what)
		for _, n := range names {
			if got := s.inspect(t, n, "{{.State.Pid}} {{.State.StartedAt}}"); got != pids[n] {
				t.Errorf("%s: %s was %s and is %s", what, n, pids[n], got)
			}
			at := s.must(t, "logs", "--tail", "1", n)
			for _, c := range clients[n] {
				until(t, what+": output of "+n+" goes on", func() bool { return strings.Contains(c.text(), at) })
			}
			if r := s.try("exec", n, "cat", "/dev/null"); r.code != 0 {
				t.Errorf("%s: exec in %s: %v", what, n, r)
			}
		}
	}
	for _, n := range names[:2] {
		s.must(t, "exec", n, "touch", "/stop")
	}
	if got := s.must(t, "wait", "reload-once"); got != "7" {
		t.Errorf("exit code %s, want 7", got)
	}
	for i, c := range clients["reload-once"] {
		want := []int{7, 0}[i] // attach ends with the container's code
		if code := c.end(); code != want {
			t.Errorf("client %d ended with %d, want %d", i, code, want)
		}
		inOrder(t, c.lines)
	}
	until(t, "the restart after a reload", func() bool {
		return s.inspect(t, "reload-service", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}") == "exited 1 7"
	})
	s.must(t, "stop", "reload-boot")
	s.clean(t)
}

// inOrder checks that lines "line N" have every N from the first one on.
func inOrder(t *testing.T, lines []string) {
	t.Helper()
	if len(lines) == 0 {
		t.Error("no lines")
		return
	}
	var n int
	if _, err := fmt.Sscanf(lines[0], "line %d", &n); err != nil {
		t.Errorf("first line %q", lines[0])
		return
	}
	for i, l := range lines {
		if want := fmt.Sprintf("line %d", n+i); l != want {
			t.Errorf("line %d is %q, want %q", i, l, want)
			return
		}
	}
}

// TestFiftyContainers shows what containers cost: no mount of the host's, no
// process, little memory.
func TestFiftyContainers(t *testing.T) {
	s := newSite(t)
	s.importImage(t, "busybox")
	s.must(t, "run", "--rm", "--network", "none", "busybox", "true") // starts what is started once
	const many = 50
	mountsBefore := s.must(t, "host", "shell", "cat", "/proc/1/mountinfo")
	before := s.processes(t)
	together(many, func(i int) result {
		if r := s.try("run", "-d", "--network", "none", "--name", fmt.Sprintf("fifty-%d", i), "busybox", "sleep", "1000"); r.code != 0 {
			t.Errorf("run: %v", r)
		}
		return result{}
	})
	after := s.processes(t)
	if got := s.must(t, "host", "shell", "cat", "/proc/1/mountinfo"); got != mountsBefore {
		t.Errorf("mounts of the host with %d containers:\n%s\nbefore:\n%s", many, got, mountsBefore)
	}
	if got := len(strings.Split(s.must(t, "ps", "-q"), "\n")); got != many {
		t.Errorf("%d containers run, want %d", got, many)
	}
	payloads := 0
	for name, p := range after {
		switch name {
		case "sleep", "busybox":
			payloads += p.count
		case "cleat-stdiod":
			if p.count != 1 {
				t.Errorf("%d processes of %s", p.count, name)
			}
		default:
			if p.count > before[name].count {
				t.Errorf("%d processes %q, %d before the containers", p.count, name, before[name].count)
			}
		}
	}
	if payloads != many {
		t.Errorf("%d payloads, want %d", payloads, many)
	}
	for _, name := range []string{"systemd", "cleat-stdiod", "systemd-journal"} {
		t.Logf("%s: %d kB before, %d kB with %d containers: %d kB each", name, before[name].kB, after[name].kB, many, (after[name].kB-before[name].kB)/many)
	}
	together(many, func(i int) result { return s.try("rm", "-f", fmt.Sprintf("fifty-%d", i)) })
	s.clean(t)
}

// usage is what the processes of one name take.
type usage struct{ count, kB int }

// processes lists what runs in the host, but for this listing itself.
func (s site) processes(t *testing.T) map[string]usage {
	t.Helper()
	all := map[string]usage{}
	const list = `for p in /proc/[0-9]*; do read n <$p/comm && m=$(awk '/^Pss:/ {s+=$2} END {print s+0}' $p/smaps_rollup) && echo "$m ${p#/proc/} $n"; done 2>/dev/null`
	for line := range strings.Lines(s.must(t, "host", "shell", "sh", "-c", list)) {
		var kB, pid int
		var name string
		if _, err := fmt.Sscan(line, &kB, &pid, &name); err != nil {
			continue
		}
		if name == "sh" || name == "awk" || name == "cleat" {
			continue // the listing
		}
		u := all[name]
		all[name] = usage{u.count + 1, u.kB + kB}
	}
	if len(all) == 0 {
		t.Fatal("no process is listed")
	}
	return all
}
