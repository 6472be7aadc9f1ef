package tests

import (
	"strings"
	"testing"
)

// On a systemd that knows none of cleat's own units, as a machine's before
// "make install", a command brings them, also for the next boot.
func TestCheckoutBringsItsUnits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must(t, "host", "shell", "sh", "-c", `
		systemctl stop cleat-stdiod.socket cleat-stdiod.service
		rm -f /run/cleat-host/units/cleat-stdiod.* /run/cleat-host/units/cleat.slice /run/cleat-host/units/*.wants/cleat-stdiod.*
		systemctl daemon-reload`)
	if r := s.try("host", "shell", "systemctl", "cat", "cleat-stdiod.socket"); r.code == 0 {
		t.Fatal("the unit is still there:", r)
	}
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	if out := s.must(t, "run", "--rm", "--network", "none", "busybox", "echo", "hello"); out != "hello" {
		t.Errorf("got %q", out)
	}
	units := s.must(t, "host", "shell", "ls", "/etc/systemd/system")
	for _, want := range []string{"cleat-stdiod.service", "cleat-stdiod.socket", "cleat.slice"} {
		if !strings.Contains(units, want) {
			t.Errorf("%s is missing among %q", want, units)
		}
	}
}
