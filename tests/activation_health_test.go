package tests

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestActivateHealthy shows a container with a check: connections to it wait until
// that finds it healthy, and keep it from falling asleep meanwhile.
func TestActivateHealthy(t *testing.T) {
	s := newNetSite(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--activate", "proxy", "--idle-timeout", "1s", "-p", "8080:80",
		"--health-cmd", "test -e /state/ok", "--health-interval", "1h", "-v", dir+":/state:ro", "-v", filepath.Join(env.root, "peer")+":/peer:ro",
		"--entrypoint", "/peer", "busybox", "serve", "tcp::80")
	s.asleep(t, "web")
	conn := s.dial(t, s.lan, "tcp", hostLAN4+":8080")
	if _, err := io.WriteString(conn, "who\n"); err != nil {
		t.Fatal(err)
	}
	const run = "{{.State.Status}} {{.State.StartedAt}}"
	until(t, "it wakes", func() bool { return strings.HasPrefix(s.inspect(t, "web", run), "running ") })
	first := s.inspect(t, "web", run)
	for range 10 {
		s.host.Run("sleep", "0.3")
		if got := s.inspect(t, "web", run); got != first {
			t.Fatalf("while a connection waits: %s, was %s", got, first)
		}
	}
	answer := make(chan string)
	go func() {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			line = err.Error()
		}
		answer <- line
	}()
	select {
	case got := <-answer:
		t.Fatalf("an answer before it is healthy: %q", got)
	default:
	}
	if err := os.WriteFile(filepath.Join(dir, "ok"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := <-answer, "web "+s.gateway(t, "bridge", 0)+"\n"; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	if got := s.inspect(t, "web", run); got != first || s.healthOf(t, "web") != "healthy" {
		t.Errorf("in the end: %s, want %s and healthy", got, first)
	}
	from(t, s.lan).hears(t, "tcp", hostLAN4+":8080", "web "+peerLAN4) // by itself
	conn.Close()
	until(t, "it sleeps", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "sleeping" })
	// The next run is a new one.
	if err := os.Remove(filepath.Join(dir, "ok")); err != nil {
		t.Fatal(err)
	}
	conn = s.dial(t, s.lan, "tcp", hostLAN4+":8080")
	until(t, "it wakes", func() bool { return strings.HasPrefix(s.inspect(t, "web", run), "running ") })
	conn.Close()
	s.must(t, "rm", "-f", "web")
	s.empty(t)
}
