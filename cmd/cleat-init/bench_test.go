package main

import (
	"testing"
)

// BenchmarkStart measures "cleat-init start" of a container with Docker's
// defaults, from its execution to its end, with a service manager and a broker
// that answer at once.
func BenchmarkStart(b *testing.B) {
	r := newRig(b, "/bin/probe", "exit", "0").create()
	for b.Loop() {
		s := r.start()
		if s.code != 0 {
			b.Fatal(s.stderr)
		}
		r.wait(s)
	}
}
