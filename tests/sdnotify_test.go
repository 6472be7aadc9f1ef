package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sayer builds the program of testdata/say.c and returns the flag that puts it into
// a container.
func sayer(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-say-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "say")
	if out, err := exec.Command("gcc", "-static", "-o", path, "testdata/say.c").CombinedOutput(); err != nil {
		t.Fatalf("build say: %v\n%s", err, out)
	}
	return "-v=" + path + ":/bin/say:ro"
}

// show returns a property of a container's unit.
func (s site) show(t testing.TB, name, property string) string {
	t.Helper()
	return s.systemctl(t, "show", "-P", property, "cleat-"+name+".service")
}

// becoming runs a command that ends when the container is ready.
func (s site) becoming(t *testing.T, name string, args ...string) <-chan result {
	t.Helper()
	t.Cleanup(func() { s.try("rm", "-f", name) })
	done := make(chan result, 1)
	go func() { done <- s.try(append([]string{"run", "-d", "--network", "none", "--name", name}, args...)...) }()
	return done
}

// A payload says that it is ready, and how it is doing; whatever happens to what
// passes that on.
func TestPayloadSaysThatItIsReady(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	say := sayer(t)
	done := s.becoming(t, "web", "--sdnotify=container", say, "busybox", "sh", "-c",
		`say "STATUS=warming up" || exit 9; until test -e /go; do sleep 0.05; done; say READY=1; exec sleep 1000`)
	until(t, "status", func() bool { return s.show(t, "web", "StatusText") == "warming up" })
	if got := s.show(t, "web", "ActiveState"); got != "activating" {
		t.Errorf("before it is ready the unit is %s", got)
	}
	if got := s.inspect(t, "web", "{{.State.Status}}"); got != "running" {
		t.Errorf("before it is ready the container is %s", got)
	}
	s.systemctl(t, "kill", "-s", "KILL", "cleat-healthd.service")
	s.must(t, "exec", "web", "touch", "/go")
	if r := <-done; r.code != 0 {
		t.Fatal(r)
	}
	if got := s.show(t, "web", "ActiveState"); got != "active" {
		t.Errorf("afterwards the unit is %s", got)
	}
	if got := s.must(t, "exec", "web", "sh", "-c", "echo $NOTIFY_SOCKET; tr '\\0' '\\n' </proc/1/environ | grep NOTIFY"); got != "\nNOTIFY_SOCKET=/run/notify/notify.sock" {
		t.Errorf("environment %q", got)
	}

	// What is harmful does not arrive; what follows does.
	before := s.show(t, "web", "MainPID")
	sayThat := append([]string{"exec", "-u", "1000", "-e", "NOTIFY_SOCKET=/run/notify/notify.sock", "web", "say"},
		"MAINPID=1", "MAINPID=1\nREADY=1", "FDSTORE=1\nFDNAME=x", "ERRNO=5", "BUSERROR=org.x", "NOTIFYACCESS=all", "RESTART_RESET=1",
		"EXIT_STATUS=7", "WATCHDOG=trigger", "WATCHDOG_USEC=1", "INVOCATION_ID=00000000000000000000000000000000", "INVALID", strings.Repeat("x", 60000),
		"STATUS=red \x1b[31m or\tnot", "MAINPID=1\nRELOADING=1")
	s.must(t, sayThat...)
	until(t, "reloading", func() bool { return s.show(t, "web", "ActiveState") == "reloading" })
	if got := s.inspect(t, "web", "{{.State.Status}}"); got != "running" {
		t.Errorf("while it reloads the container is %s", got)
	}
	for property, want := range map[string]string{
		"MainPID": before, "NFileDescriptorStore": "0", "StatusErrno": "0", "StatusText": "red ?[31m or?not", "WatchdogUSec": "0", "Result": "success",
	} {
		if got := s.show(t, "web", property); got != want {
			t.Errorf("%s=%s, want %s", property, got, want)
		}
	}
	s.must(t, "exec", "-e", "NOTIFY_SOCKET=/run/notify/notify.sock", "web", "say", "READY=1")
	until(t, "active", func() bool { return s.show(t, "web", "ActiveState") == "active" })
	s.must(t, "restart", "-t", "0", "web")
	s.must(t, "rm", "-f", "web")

	// One that never comes to it.
	r := <-s.becoming(t, "early", "--sdnotify=container", "busybox", "sh", "-c", "exit 3")
	if r.code != 3 || !strings.Contains(r.stderr, "ended with exit code 3 before it was ready") {
		t.Errorf("one that ends early: %v", r)
	}
	plain(t, r.stderr)
	s.must(t, "rm", "early")
	if left, err := filepath.Glob(s.root + "/run/notify/*"); err != nil || len(left) > 0 {
		t.Errorf("sockets are left: %v, %v", left, err)
	}
	if got := s.systemctl(t, "show", "-P", "NFileDescriptorStore", "cleat-healthd.service"); got != "0" {
		until(t, "nothing in the store", func() bool {
			return s.systemctl(t, "show", "-P", "NFileDescriptorStore", "cleat-healthd.service") == "0"
		})
	}
	s.clean(t)
}

// A flood slows down its own sender.
func TestPayloadThatSaysTooMuch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	done := s.becoming(t, "flood", "--sdnotify=container", sayer(t), "busybox", "sh", "-c", `say READY=1; i=0; while say STATUS=$i; do i=$((i+1)); done`)
	if r := <-done; r.code != 0 {
		t.Fatal(r)
	}
	until(t, "100 said", func() bool { return len(s.show(t, "flood", "StatusText")) > 2 })
	began := time.Now()
	s.must(t, "stop", "-t", "1", "flood")
	t.Logf("stopped within %v", time.Since(began))
}

// Ready is what its health check finds to be.
func TestReadyWhenHealthy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importImage(t, "busybox")
	done := s.becoming(t, "web", "--sdnotify=healthy", "--health-cmd=test -e /ok", "--health-interval=50ms", "busybox", "sleep", "1000")
	until(t, "unhealthy", func() bool {
		return s.try("inspect", "-f", "{{.State.Health.Status}}", "web").out == "unhealthy"
	})
	if got := s.show(t, "web", "ActiveState"); got != "activating" {
		t.Errorf("before it is healthy the unit is %s", got)
	}
	s.must(t, "exec", "web", "touch", "/ok")
	if r := <-done; r.code != 0 {
		t.Fatal(r)
	}
	if got := s.show(t, "web", "ActiveState"); got != "active" {
		t.Errorf("afterwards the unit is %s", got)
	}
	if r := s.try("run", "--rm", "--network", "none", "--sdnotify=healthy", "busybox", "true"); r.code != 125 || !strings.Contains(r.stderr, "there is no health check") {
		t.Errorf("without a check: %v", r)
	}
}
