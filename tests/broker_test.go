package tests

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// numbers is what "seq 1 N" prints.
func numbers(n int) string {
	var b bytes.Buffer
	for i := 1; i <= n; i++ {
		b.WriteString(strconv.Itoa(i))
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// sameLines names the first line in which two texts differ.
func sameLines(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s: line %d of %d is %q, want %q", what, i+1, len(g), clip(g[i]), w[i])
			return
		}
	}
	t.Errorf("%s: %d lines, want %d", what, len(g), len(w))
}

// brokerPID returns the process of the stdio broker, "0" if it does not run.
func (s site) brokerPID() string {
	return s.try("host", "shell", "systemctl", "show", "-P", "MainPID", "cleat-stdiod.service").out
}

// TestBrokerIsKilled kills the broker, again and again, while a container floods
// it. No line is lost, doubled or out of order, and the container lives.
func TestBrokerIsKilled(t *testing.T) {
	s := shared()
	lines, kills := 200_000, 8
	if testing.Short() {
		lines, kills = 30_000, 3
	}
	s.run(t, "flood", "busybox", "sh", "-c", fmt.Sprintf("seq 1 %d; echo err >&2; until [ -e /stop ]; do usleep 10000; done; exit 3", lines))
	pid := s.inspect(t, "flood", "{{.State.Pid}}")
	last, during := "0", 0
	for range kills {
		var now string
		until(t, "the broker runs", func() bool { now = s.brokerPID(); return now != "0" && now != "" && now != last })
		s.must(t, "host", "shell", "kill", "-KILL", now)
		last = now
		at := s.must(t, "logs", "--tail", "1", "flood")
		if n, err := strconv.Atoi(at); err == nil && n < lines {
			during++
		}
		until(t, "output goes on", func() bool {
			got := s.must(t, "logs", "--tail", "1", "flood")
			return got != at || strings.HasPrefix(got, "err") || got == strconv.Itoa(lines)
		})
	}
	t.Logf("%d of %d kills fell into the flood", during, kills)
	if during < 2 {
		t.Errorf("%d kills fell into the flood: too few to show anything", during)
	}
	if got := s.inspect(t, "flood", "{{.State.Pid}} {{.State.Status}}"); got != pid+" running" {
		t.Errorf("the container was %s and is %s", pid, got)
	}
	s.must(t, "exec", "flood", "touch", "/stop")
	if got := s.must(t, "wait", "flood"); got != "3" {
		t.Errorf("exit code %s, want 3", got)
	}
	r := s.try("logs", "flood")
	sameLines(t, "logs", r.out, numbers(lines))
	if r.stderr != "err" {
		t.Errorf("stderr is %q", clip(r.stderr))
	}
	journal := s.must(t, "host", "shell", "journalctl", "-q", "--no-pager", "-u", "cleat-flood", "-o", "cat", "_TRANSPORT=journal", "PRIORITY=6", "CONTAINER_NAME=flood")
	sameLines(t, "journalctl", journal, numbers(lines))
	s.clean(t)
}

// TestLogsAreCompleteAfterWait ends many containers just after their last line.
func TestLogsAreCompleteAfterWait(t *testing.T) {
	s := shared()
	const many, lines = 50, 300
	want := numbers(lines)
	together(2, func(half int) result {
		for i := half; i < many; i += 2 {
			name := fmt.Sprintf("short-%d", i)
			if r := s.try("run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c", fmt.Sprintf("seq 1 %d; exit %d", lines, i)); r.code != 0 {
				t.Errorf("run: %v", r)
				continue
			}
			if r := s.try("wait", name); r.out != strconv.Itoa(i) {
				t.Errorf("wait: %v, want %d", r, i)
			}
			r := s.try("logs", name)
			sameLines(t, "logs of "+name, r.out, want)
			follow := s.try("logs", "-f", name)
			sameLines(t, "logs -f of "+name, follow.out, want)
			s.try("rm", name)
		}
		return result{}
	})
}

// TestEverybodySeesTheSame attaches several clients to one container.
func TestEverybodySeesTheSame(t *testing.T) {
	s := shared()
	const lines = 20_000
	s.run(t, "shown", "busybox", "sh", "-c", fmt.Sprintf("until [ -e /go ]; do usleep 10000; done; seq 1 %d; exit 5", lines))
	var clients []*client
	for range 4 {
		clients = append(clients, s.begin(t, nil, "attach", "--no-stdin", "shown"))
	}
	clients = append(clients, s.begin(t, nil, "logs", "-f", "shown"))
	s.attached(t, "shown", 4)
	s.must(t, "exec", "shown", "touch", "/go")
	for i, c := range clients {
		code := c.end()
		sameLines(t, fmt.Sprintf("client %d", i), c.text(), numbers(lines))
		if want := map[bool]int{true: 5, false: 0}[i < 4]; code != want {
			t.Errorf("client %d ended with %d, want %d", i, code, want)
		}
	}
}

// attached waits until n processes of the host are connected to the broker as
// "cleat attach NAME".
func (s site) attached(t *testing.T, name string, n int) {
	t.Helper()
	// Each client is a process outside, one inside, and a connection that both
	// ends of show up in ss(8) only where that is installed: so count the
	// broker's own sockets.
	until(t, fmt.Sprintf("%d clients of %s are attached", n, name), func() bool {
		out := s.try("host", "shell", "sh", "-c", "ls -l /proc/"+s.brokerPID()+"/fd | grep -c socket:").out
		sockets, _ := strconv.Atoi(out)
		return sockets >= n+2
	})
}
