package main

import (
	"strconv"
	"strings"
	"testing"
	"time"
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
