package tests

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/internal/fsx"
)

// Who starts a container while a start is under way whose command was killed gets
// it running, and is not told how that start ended.
func TestStartAfterKilledStart(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	for _, policy := range []string{"no", "on-failure", "always"} {
		name := "again-" + policy
		s.must(t, "create", "--name", name, "--restart", policy, "busybox", "sleep", "1d")
		show := func(property string) string {
			return s.systemctl(t, "show", "-P", property, "cleat-"+name+".service")
		}
		release := s.holdStarts(t)
		first := s.cmd("start", name)
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, name+" is being started", func() bool { return show("SubState") == "start" })
		if err := first.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = first.Wait()
		run := show("InvocationID")
		second := make(chan result, 1)
		go func() { second <- s.try("start", name) }()
		if policy == "no" { // the unit of a boot service is joined, a transient one made anew
			until(t, name+" is being started again", func() bool { id := show("InvocationID"); return id != "" && id != run })
		}
		release()
		if r := <-second; r.code != 0 || r.stderr != "" {
			t.Errorf("%s: start after a start that was killed: %v", policy, r)
		}
		if got := s.inspect(t, name, "{{.State.Status}} {{.RestartCount}}"); got != "running 0" {
			t.Errorf("%s: status %s", name, got)
		}
		s.must(t, "rm", "-f", name)
	}
	s.must(t, "system", "check", "--repair") // the start that was ended had taken an address
	s.clean(t)
}

// holdStarts keeps containers that are on a network from being started until the
// function that it returns is called.
func (s netSite) holdStarts(t *testing.T) (release func()) {
	t.Helper()
	lock, err := fsx.Acquire(t.Context(), filepath.Join(fmt.Sprintf("/proc/%d/root/run/cleat", s.hostPID(t)), "net/lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.Release)
	return lock.Release
}
