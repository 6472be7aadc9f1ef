package tests

import (
	"strings"
	"testing"
)

// TestMachined shows containers to systemd-machined, which an embedded host has only
// if it is told to.
func TestMachined(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	machinectl := func(args ...string) string {
		t.Helper()
		return s.must(t, append([]string{"host", "shell", "machinectl", "--no-pager"}, args...)...)
	}
	s.must(t, "host", "shell", "systemd-run", "-q", "--unit", "systemd-machined", "-p", "BusName=org.freedesktop.machine1", "/lib/systemd/systemd-machined")
	idle := []string{"--stop-signal", "KILL", "busybox", "sleep", "1000"}
	s.run(t, "web", append([]string{"--restart", "always"}, idle...)...)
	s.run(t, "a_b.c", append([]string{"--health-cmd", "true"}, idle...)...)
	id := s.inspect(t, "a_b.c", "{{slice .Id 0 12}}")
	known := func() string { return machinectl("list", "--no-legend") }
	leader := func() string { return machinectl("show", "--value", "-p", "Leader", "cleat-web") }
	until(t, "both are known", func() bool {
		list := known()
		return strings.Contains(list, "cleat-web ") && strings.Contains(list, "cleat-a-b-c-"+id+" ")
	})
	if got := machinectl("show", "--value", "-p", "Service", "-p", "Class", "-p", "Unit", "cleat-web"); got != "cleat\ncleat-web.service\ncontainer" {
		t.Errorf("machinectl show: %q", got)
	}
	if got := machinectl("status", "cleat-web"); !strings.Contains(got, "Unit: cleat-web.service") || !strings.Contains(got, "(sleep)") {
		t.Errorf("machinectl status:\n%s", got)
	}
	pid := func() string { return s.inspect(t, "web", "{{.State.Pid}}") }
	if got, want := leader(), pid(); got != want {
		t.Errorf("leader %s, want %s", got, want)
	}

	// One that crashes and is restarted is the same machine with another leader.
	old := pid()
	s.must(t, "host", "shell", "machinectl", "kill", "-s", "KILL", "cleat-web")
	until(t, "the new leader is known", func() bool {
		return strings.Contains(known(), "cleat-web ") && pid() != old && pid() != "0" && leader() == pid()
	})
	s.must(t, "restart", "web")
	until(t, "the leader after a restart is known", func() bool { return strings.Contains(known(), "cleat-web ") && leader() == pid() })

	s.must(t, "stop", "a_b.c")
	if got := known(); strings.Contains(got, "a-b-c") {
		t.Errorf("after the end:\n%s", got)
	}
	machinectl("terminate", "cleat-web")
	s.settledAs(t, "web", "{{.State.Status}}", "exited")
	until(t, "nothing is left", func() bool { return !strings.Contains(known(), "cleat") })
	// What is over at once is no machine; nor does it become one later.
	s.must(t, "run", "--rm", "--network", "none", "--name", "short", "busybox", "true")
	s.must(t, "start", "web")
	until(t, "it is known again", func() bool { return strings.Contains(known(), "cleat-web ") })
	if got := known(); strings.Contains(got, "short") {
		t.Errorf("after a short run:\n%s", got)
	}
	for line := range strings.Lines(s.must(t, "host", "shell", "journalctl", "-u", "cleat-healthd", "-q", "-o", "cat")) {
		if strings.HasPrefix(line, "cleat-healthd:") {
			t.Errorf("the daemon says %s", line)
		}
	}
	s.must(t, "rm", "-f", "web", "a_b.c")
	s.clean(t)
}
