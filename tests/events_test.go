package tests

import (
	"bufio"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEventsFollow listens while containers come and go.
func TestEventsFollow(t *testing.T) {
	t.Parallel()
	s, prefix := shared(), fmt.Sprintf("heard-%d-", time.Now().UnixNano())
	cmd := s.cmd("events", "--since", "1m", "--filter", "container="+prefix, "--format", "{{.Actor.Attributes.name}} {{.Action}}")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for _, name := range []string{prefix + "1", prefix + "2"} { // of the second it can only be told live
		s.must(t, "run", "--rm", "--network", "none", "--name", name, "busybox", "true")
		for _, action := range []string{"create", "attach", "start", "die", "destroy"} {
			if !lines.Scan() || lines.Text() != name+" "+action {
				t.Fatalf("heard %q, want %q of %s (%v)", lines.Text(), action, name, lines.Err())
			}
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("after SIGINT: %v", err)
	}
}

// TestEventsUntil ends by itself, with everything that happened before.
func TestEventsUntil(t *testing.T) {
	t.Parallel()
	s, name := shared(), fmt.Sprintf("dated-%d", time.Now().UnixNano())
	ended := make(chan result, 1)
	go func() {
		until := time.Now().Add(4 * time.Second).Format(time.RFC3339Nano)
		ended <- s.try("events", "--since", "1m", "--until", until, "--filter", "container="+name, "--filter", "event=create", "--format", "{{.Action}}")
	}()
	s.must(t, "create", "--network", "none", "--name", name, "busybox", "true")
	s.must(t, "rm", name)
	if r := <-ended; r.code != 0 || strings.TrimSpace(r.out) != "create" {
		t.Errorf("events: %v", r)
	}
}
