package tests

import (
	"strings"
	"testing"
)

// TestLostEnd has systemd kill, or an administrator forget, the command that
// records how a run ended. The check finds such runs and records them late.
func TestLostEnd(t *testing.T) {
	s := shared()
	const dropIns = "/run/systemd/system/"
	for name, option := range map[string]string{"lost-kept": "--restart=no", "lost-ephemeral": "--rm"} {
		s.must(t, "host", "shell", "sh", "-c", "mkdir -p "+dropIns+"cleat-"+name+".service.d && printf '[Service]\\nExecStopPost=\\n' >"+dropIns+"cleat-"+name+".service.d/test.conf")
		t.Cleanup(func() { s.try("host", "shell", "rm", "-r", dropIns+"cleat-"+name+".service.d") })
		s.run(t, name, option, "-v", "/data", "busybox", "sh", "-c", "echo words; exec sleep 1000")
		until(t, "it has spoken", func() bool { return s.must(t, "logs", name) == "words" })
		s.systemctl(t, "kill", "-s", "KILL", "cleat-"+name)
		until(t, "the unit is gone", func() bool {
			return s.try("host", "shell", "systemctl", "is-active", "cleat-"+name).out != "active"
		})
	}
	r := s.try("system", "check")
	for _, name := range []string{"lost-kept", "lost-ephemeral"} {
		if r.code != 1 || !strings.Contains(r.out, name) {
			t.Errorf("system check does not find %s: %v", name, r)
		}
	}
	if r := s.try("system", "check", "--repair"); r.code != 0 {
		t.Errorf("system check --repair: %v", r)
	}
	s.clean(t)
	if got := s.inspect(t, "lost-kept", "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 125" {
		t.Errorf("the one to be kept is %s", got)
	}
	if got := s.must(t, "logs", "lost-kept"); got != "words" {
		t.Errorf("its logs are %q", got)
	}
	if r := s.try("inspect", "lost-ephemeral"); r.code == 0 {
		t.Errorf("the ephemeral one is there: %v", r)
	}
	s.must(t, "start", "lost-kept")
}
