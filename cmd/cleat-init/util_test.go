package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// awaitOutput waits until the container has printed want, or more.
func awaitOutput(t *testing.T, r *rig, want string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		run := r.broker.run(r.id)
		if run != nil && strings.HasPrefix(run.soFar(), want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no output %q, but %q", want, run.soFar())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

const winch = unix.SIGWINCH

// awaitCaught waits until process pid handles signal n with a handler of its
// own. Go's runtime has one for each signal from the start, so what is waited
// for is that the process sleeps, having nothing else to do.
func awaitCaught(t *testing.T, pid, n int) {
	t.Helper()
	deadline, idle := time.Now().Add(20*time.Second), 0
	for time.Now().Before(deadline) {
		status, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
		if err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile("/proc/" + itoa(pid) + "/wchan")
		p := probed{Status: string(status)}
		mask, _ := strconv.ParseUint(p.field("SigCgt"), 16, 64)
		if err == nil && mask&(1<<(n-1)) != 0 && strings.HasPrefix(p.field("State"), "S") && len(stat) > 0 {
			idle++
			if idle > 20 {
				return
			}
		} else {
			idle = 0
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("process %d does not wait", pid)
}
