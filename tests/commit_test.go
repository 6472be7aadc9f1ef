package tests

import (
	"testing"
)

// TestKilledCommit kills a commit while it has its container frozen. The next
// command that looks at the container finds it out and thaws it; a container that
// the user has paused stays so.
func TestKilledCommit(t *testing.T) {
	s := newSite(t)
	s.importImage(t, "busybox")
	const name = "busy"
	s.run(t, name, "busybox", "sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=64; echo ready; sleep 1000")
	until(t, "the file is there", func() bool { return s.try("logs", name).out != "" })
	for range 20 { // a commit may be over before anybody has looked
		if s.killFrozenCommit(t, name) {
			break
		}
	}
	// The process inside the host ends a moment after the one that was killed.
	until(t, "the container is thawed", func() bool { return s.inspect(t, name, "{{.State.Status}}") == "running" })
	s.must(t, "exec", name, "true")

	s.must(t, "pause", name)
	if got := s.inspect(t, name, "{{.State.Status}}"); got != "paused" {
		t.Errorf("the container that the user has paused is %s", got)
	}
	s.must(t, "unpause", name)
	if id := s.must(t, "commit", name); s.try("rmi", id).code != 0 {
		t.Error("the image of the commit after that cannot be removed")
	}
	if got := s.inspect(t, name, "{{.State.Status}}"); got != "running" {
		t.Errorf("after a commit the container is %s", got)
	}
}

// killFrozenCommit reports whether the container was frozen when the commit was
// killed.
func (s site) killFrozenCommit(t *testing.T, name string) bool {
	t.Helper()
	cmd := s.cmd("commit", name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	frozen := false
	until(t, "the commit has frozen the container", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		frozen = s.inspect(t, name, "{{.State.Status}}") == "paused"
		return frozen
	})
	_ = cmd.Process.Kill() // unless it has ended
	<-ended
	return frozen && cmd.ProcessState.ExitCode() == -1
}
