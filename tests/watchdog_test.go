package tests

import (
	"strings"
	"testing"
)

// TestWatchdog has systemd restart a payload that has stopped saying that it is
// alive.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	const unit = "cleat-dog.service"
	s.writeUnit(t, unit+".d/watchdog.conf", "[Service]\nWatchdogSec=5s\n")
	done := s.becoming(t, "dog", "--restart=always", "--stop-timeout", "1", "--sdnotify=container", sayer(t), "busybox", "sh", "-c",
		`echo every $WATCHDOG_USEC; say READY=1; until test -e /hang; do say WATCHDOG=1; sleep 0.2; done; rm /hang; exec sleep 1000`)
	if r := <-done; r.code != 0 {
		t.Fatal(r)
	}
	until(t, "output", func() bool { return s.must(t, "logs", "dog") == "every 5000000" })
	pid := s.inspect(t, "dog", "{{.State.Pid}}")
	s.must(t, "exec", "dog", "touch", "/hang")
	until(t, "the restart", func() bool { return s.inspect(t, "dog", "{{.State.Running}} {{.RestartCount}}") == "true 1" })
	if got := s.inspect(t, "dog", "{{.State.Pid}}"); got == pid {
		t.Errorf("process %s as before", got)
	}
	if got := s.must(t, "host", "shell", "journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit); !strings.Contains(got, "Watchdog timeout") {
		t.Errorf("journal:\n%s", got)
	}
	s.must(t, "rm", "-f", "dog")
	s.clean(t)
}
