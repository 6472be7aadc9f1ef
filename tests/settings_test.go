package tests

import (
	"strings"
	"testing"
)

// TestSettingsGoWithTheContainer: what systemctl set-property has set belongs to the
// container, also under another name; what somebody has written belongs to the name.
func TestSettingsGoWithTheContainer(t *testing.T) {
	s := shared()
	const name, other = "settings-web", "settings-other"
	t.Cleanup(func() { s.try("rm", "-f", name, other) })
	const facts = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.Unit.DropInPaths}}"
	idle := []string{"--restart", "always", "busybox", "sh", "-c", handlesTERM}
	s.run(t, name, idle...)
	s.writeUnit(t, "cleat-"+name+".service.d/written.conf", "[Service]\nTasksMax=99\n")
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "set-property", "cleat-"+name+".service", "MemoryMax=64M")
	s.systemctl(t, "set-property", "--runtime", "cleat-"+name+".service", "CPUWeight=50")
	if got := s.inspect(t, name, facts); !strings.HasPrefix(got, "67108864 99 ") || !strings.Contains(got, "MemoryMax.conf") {
		t.Errorf("before: %s", got)
	}
	s.must(t, "stop", name)
	s.must(t, "rename", name, other)
	s.must(t, "start", other)
	if got := s.inspect(t, other, facts); !strings.HasPrefix(got, "67108864 0 ") && !strings.HasPrefix(got, "67108864 <nil> ") {
		t.Errorf("after a renaming: %s", got)
	}
	s.must(t, "rm", "-f", other)
	for _, name := range []string{name, other} {
		s.run(t, name, idle...)
		if got := s.inspect(t, name, facts); !strings.HasPrefix(got, "0 ") || strings.Contains(got, "control") {
			t.Errorf("a new %s: %s", name, got)
		}
	}
	if got := s.inspect(t, name, facts); !strings.HasPrefix(got, "0 99 ") {
		t.Errorf("what was written is not there: %s", got)
	}
	s.must(t, "rm", "-f", name, other)
	if got := s.must(t, "host", "shell", "sh", "-c", "ls /etc/systemd/system.control /run/systemd/system.control 2>/dev/null | grep settings-; true"); got != "" {
		t.Errorf("left: %s", got)
	}
	s.systemctl(t, "revert", "cleat-"+name+".service")
	s.clean(t)
}
