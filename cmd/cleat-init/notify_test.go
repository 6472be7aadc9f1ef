package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox"
)

// Systemd hears of the main process, then has time to look at it, and hears
// that the service is ready once the payload runs; the payload not before.
func TestNotifyProtocol(t *testing.T) {
	r := newRig(t, "/bin/sh", "-c", "true").create()
	release := r.notify.holdBarriers(t)
	done := make(chan started, 1)
	go func() { done <- r.start() }()
	for _, want := range []string{"MAINPID=", "BARRIER=1"} {
		if got := <-r.notify.seen; !strings.HasPrefix(got, want) {
			t.Fatalf("message %q, want %q", got, want)
		}
	}
	// While the barrier is up the second stage waits, whatever it runs.
	exe, err := os.Readlink("/proc/" + itoa(r.notify.mainPID()) + "/exe")
	if err != nil || strings.Contains(exe, "busybox") || strings.HasSuffix(exe, "/bin/sh") {
		t.Errorf("before the barrier is down the main process runs %s (%v)", exe, err)
	}
	release()
	s := <-done
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	for got := ""; !strings.HasPrefix(got, "READY"); got = <-r.notify.seen {
	}
	want := []string{"MAINPID=" + itoa(s.pid), "BARRIER=1", "READY=1\nNOTIFYACCESS=none"}
	if diff := cmp.Diff(want, r.notify.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	live, err := r.store.LoadLive(r.id)
	if err != nil || live.PID != s.pid || live.InvocationID != "0123456789abcdef0123456789abcdef" || time.Since(live.StartedAt) > time.Minute {
		t.Errorf("live record %+v, %v", live, err)
	}
	r.wait(s)
}

// A start that dies takes the second stage with it.
func TestParentDies(t *testing.T) {
	r := newRig(t, "probe", "sleep").create()
	release := r.notify.holdBarriers(t)
	cmd := r.command("start", r.id)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != "BARRIER=1"; got = <-r.notify.seen {
	}
	pid := r.notify.mainPID()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(ws); code != sandbox.ExitFailed {
		t.Errorf("the second stage ended with %d", code)
	}
	release()
}
