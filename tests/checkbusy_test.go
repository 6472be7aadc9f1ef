package tests

import (
	"fmt"
	"sync"
	"testing"
)

// TestCheckWhileBusy looks for leftovers while containers, networks and volumes
// come and go: what commands are in the middle of is nothing that was left.
func TestCheckWhileBusy(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	const runs = 12
	var busy sync.WaitGroup
	for worker := range 3 {
		busy.Go(func() {
			for n := range runs {
				name := fmt.Sprintf("busy%d-%d", worker, n)
				for _, args := range [][]string{
					{"network", "create", name},
					{"run", "-d", "--rm", "--name", name, "--network", name, "-v", name + ":/data", "-p", "80", "busybox", "sleep", "1000"},
					{"rm", "-f", name},
					{"volume", "rm", "-f", name},
					{"network", "rm", name},
				} {
					if r := s.try(args...); r.code != 0 {
						t.Errorf("%v: %v", args, r)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { busy.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s.clean(t)
	}
}
