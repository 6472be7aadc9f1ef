package main

import (
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// BenchmarkStart measures "cleat-init start" of a container with Docker's
// defaults, from its execution to its end, with a service manager and a broker
// that answer at once.
func BenchmarkStart(b *testing.B) {
	r := profiled(b, spec.Container{Process: spec.Process{Cmd: []string{"probe", "exit", "0"}, Env: []string{"PATH=/bin"}}})
	for b.Loop() {
		s := r.start()
		if s.code != 0 {
			b.Fatal(s.stderr)
		}
		r.wait(s)
	}
}
