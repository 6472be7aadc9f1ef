package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// health is "health CONTAINER STATE": waits until its checks have found that.
func health(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[1], func() bool {
		return output("inspect", "-f", "{{.State.Health.Status}}", args[0]) == args[1]
	})
}

// logFull is "logfull CONTAINER": waits until it was checked as often as results
// are kept.
func logFull(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "checked 5 times", func() bool {
		return output("inspect", "-f", "{{len .State.Health.Log}}", args[0]) == "5"
	})
}

// healthOf returns what the checks of a container have found.
func (s site) healthOf(t testing.TB, name string) string {
	t.Helper()
	return s.inspect(t, name, "{{.State.Health.Status}}")
}

// Whatever happens to the daemon, containers are checked; it goes when it has
// nothing to do.
func TestHealthDaemonDies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	s.run(t, "web", "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "1000")
	until(t, "web unhealthy", func() bool { return s.healthOf(t, "web") == "unhealthy" })
	for _, how := range []string{"kill -s KILL", "restart", "kill"} {
		s.systemctl(t, append(strings.Fields(how), "cleat-healthd.service")...)
		s.must(t, "exec", "web", "touch", "/ok")
		until(t, "web healthy after "+how, func() bool { return s.healthOf(t, "web") == "healthy" })
		s.must(t, "exec", "web", "rm", "/ok")
		until(t, "web unhealthy after "+how, func() bool { return s.healthOf(t, "web") == "unhealthy" })
	}
	// A check is under way when its container ends, in all the ways in which it can.
	s.run(t, "end", "--health-cmd", "sleep 1001", "--health-interval", "10ms", "busybox", "sleep", "1000")
	checked := func() bool { return strings.Contains(s.must(t, "top", "end"), "sleep 1001") }
	for _, how := range [][]string{{"kill", "end"}, {"restart", "-t", "0", "end"}, {"rm", "-f", "end"}} {
		s.must(t, "start", "end")
		until(t, "check under way", checked)
		s.must(t, how...)
	}
	for line := range strings.Lines(s.must(t, "host", "shell", "journalctl", "-u", "cleat-healthd", "-q", "-o", "cat")) {
		if strings.HasPrefix(line, "cleat-healthd:") {
			t.Errorf("the daemon says %s", line)
		}
	}
	s.must(t, "rm", "-f", "web")
	s.clean(t)
}

// Many containers with many checks: what that costs is logged.
func TestHealthOfMany(t *testing.T) {
	t.Parallel()
	const many = 50
	s := newSite(t)
	s.importImage(t, "busybox")
	together(many, func(i int) result {
		return s.try("run", "-d", "--network", "none", "--name", fmt.Sprintf("many-%d", i), "--health-cmd", "true", "--health-interval", "1s", "busybox", "sleep", "1000")
	})
	until(t, "all healthy", func() bool {
		return strings.Count(s.must(t, "ps", "--filter", "health=healthy", "-q"), "\n") == many-1
	})
	usage := func() (ms, lines int) {
		group := s.must(t, "host", "shell", "cat", "/sys/fs/cgroup/system.slice/cleat-healthd.service/cpu.stat", "/sys/fs/cgroup/cleat.slice/cpu.stat")
		for line := range strings.Lines(group) {
			var usec int
			if n, _ := fmt.Sscanf(line, "usage_usec %d", &usec); n == 1 {
				ms += usec / 1000
			}
		}
		return ms, strings.Count(s.must(t, "host", "shell", "journalctl", "-q", "-o", "cat"), "\n")
	}
	checks := func() time.Time {
		at, err := time.Parse(time.RFC3339Nano, s.inspect(t, "many-0", `{{(index .State.Health.Log 0).Start.Format "2006-01-02T15:04:05.999999999Z07:00"}}`))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	first, ms, lines := checks(), 0, 0
	ms, lines = usage()
	until(t, "ten checks later", func() bool { return checks().Sub(first) > 10*time.Second })
	msAfter, linesAfter := usage()
	took := checks().Sub(first)
	t.Logf("%d containers checked each second, for %v: %d ms of CPU, %d lines in the journal; cleat-healthd has %d kB",
		many, took.Round(time.Millisecond), msAfter-ms, linesAfter-lines, s.processes(t)["cleat-healthd"].kB)
	if linesAfter-lines > 10 {
		t.Errorf("the journal has %d lines more", linesAfter-lines)
	}
	together(many, func(i int) result { return s.try("rm", "-f", fmt.Sprintf("many-%d", i)) })
}
