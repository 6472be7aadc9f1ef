package tests

import (
	"strings"
	"testing"
)

// TestBrokenUnit edits the units of boot services into nonsense: they fail, once, and
// say why; taken back, they start.
func TestBrokenUnit(t *testing.T) {
	s := shared()
	for name, tt := range map[string]struct{ start, says string }{
		"broken-missing":  {"/no/such/program", "status=203/EXEC"},
		"broken-nonsense": {"no such thing", "status=203/EXEC"},
		"broken-other":    {"/bin/true", "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit := "cleat-" + name + ".service"
			s.run(t, name, "--restart", "always", "busybox", "sh", "-c", handlesTERM)
			s.writeUnit(t, unit+".d/oops.conf", "[Service]\nExecStart=\nExecStart="+tt.start+"\n")
			s.systemctl(t, "daemon-reload")
			if r := s.try("host", "shell", "systemctl", "restart", unit); r.code == 0 {
				t.Errorf("it starts: %v", r)
			}
			s.settledAs(t, name, "{{.State.Status}} {{.State.ExitCode}} {{.State.Restarting}}", "exited 125 false")
			if got := s.inspect(t, name, "{{.State.Error}}"); !strings.Contains(got, "systemctl cat "+unit) {
				t.Errorf("error: %s", got)
			}
			until(t, "systemctl status says what is wrong", func() bool {
				r := s.try("host", "shell", "systemctl", "status", "--no-pager", "-l", unit)
				return strings.Contains(r.out, "failed") && strings.Contains(r.out, tt.says) && strings.Contains(r.out, "the unit is broken")
			})
			if got := s.systemctl(t, "show", "-P", "NRestarts", unit); got != "0" {
				t.Errorf("%s restarts", got)
			}
			if r := s.try("start", name); r.code == 0 || !strings.Contains(r.stderr, "systemctl cat") {
				t.Errorf("start: %v", r)
			}
			s.must(t, "host", "shell", "rm", "-r", "/etc/systemd/system/"+unit+".d")
			s.systemctl(t, "daemon-reload")
			s.must(t, "start", name)
			s.must(t, "rm", "-f", name)
		})
	}
	t.Cleanup(func() { s.clean(t) })
}
