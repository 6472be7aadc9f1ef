package tests

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestOneNameOneWinner starts twenty containers of one name at once.
func TestOneNameOneWinner(t *testing.T) {
	s := shared()
	for round := range 3 {
		name := fmt.Sprintf("same%d", round)
		t.Cleanup(func() { s.try("rm", "-f", name) })
		results := together(20, func(int) result {
			return s.try("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
		})
		winners := 0
		for _, r := range results {
			switch {
			case r.code == 0:
				winners++
			case r.code != 125 || !strings.Contains(r.stderr, "is taken"):
				t.Errorf("a loser got %v", r)
			}
			plain(t, r.stderr)
		}
		if winners != 1 {
			t.Errorf("%d of 20 won", winners)
		}
		if got := s.inspect(t, name, "{{.State.Status}}"); got != "running" {
			t.Errorf("the winner is %s", got)
		}
		s.must(t, "rm", "-f", name)
	}
	s.clean(t)
}

// together calls do n times at once.
func together(n int, do func(i int) result) []result {
	results := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i] = do(i) })
	}
	wg.Wait()
	return results
}

// TestStartAgainstRemove lets commands that exclude each other meet. Whatever
// comes first, each either does its work or says why not, and what is left is as
// they say.
func TestStartAgainstRemove(t *testing.T) {
	s := shared()
	for _, pair := range []struct {
		name          string
		first, second []string
		running       bool // at the beginning
		option        string
	}{
		{"start, rm", []string{"start"}, []string{"rm"}, false, "--restart=no"},
		{"start, rm -f", []string{"start"}, []string{"rm", "-f"}, false, "--restart=no"},
		{"start, rm -f of a service", []string{"start"}, []string{"rm", "-f"}, false, "--restart=always"},
		{"restart, rm -f", []string{"restart"}, []string{"rm", "-f"}, true, "--restart=no"},
		{"stop, rm -f of an ephemeral one", []string{"stop"}, []string{"rm", "-f"}, true, "--rm"},
		{"stop, rm -f of a service", []string{"stop"}, []string{"rm", "-f"}, true, "--restart=always"},
		{"kill, stop of a service", []string{"kill"}, []string{"stop"}, true, "--restart=always"},
		{"start, stop", []string{"start"}, []string{"stop"}, false, "--restart=no"},
		{"start, start", []string{"start"}, []string{"start"}, false, "--restart=no"},
		{"rm -f, rm -f", []string{"rm", "-f"}, []string{"rm", "-f"}, true, "--restart=no"},
	} {
		t.Run(pair.name, func(t *testing.T) {
			for turn := range 6 {
				s.meet(t, fmt.Sprintf("meet-%d", turn), pair.option, pair.running, pair.first, pair.second)
			}
			s.clean(t)
		})
	}
}

func (s site) meet(t *testing.T, name, option string, running bool, commands ...[]string) {
	t.Helper()
	s.must(t, "create", "--network", "none", "--name", name, option, "busybox", "sleep", "1000")
	defer s.try("rm", "-f", name)
	if running {
		s.must(t, "start", name)
	}
	results := together(len(commands), func(i int) result { return s.try(append(commands[i], name)...) })
	removed := false
	for i, r := range results {
		verb := strings.Join(commands[i], " ")
		plain(t, r.stderr)
		if r.code != 0 && r.stderr == "" {
			t.Errorf("%s fails without a word: %v", verb, r)
		}
		if r.code == 0 && strings.HasPrefix(verb, "rm") {
			removed = true
		}
		if verb == "rm -f" && r.code != 0 && !strings.Contains(r.stderr, "no such container") {
			t.Errorf("rm -f must always win: %v", r)
		}
	}
	left := s.try("inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}", name)
	switch {
	case removed && left.code == 0:
		t.Errorf("removed, and there: %v; the commands said %v", left, results)
	case !removed && left.code != 0 && option != "--rm":
		t.Errorf("nobody removed it, and it is gone: %v; the commands said %v", left, results)
	case left.code != 0:
		if r := s.try("host", "shell", "systemctl", "is-active", "cleat-"+name); r.out == "active" {
			t.Errorf("removed, and its unit runs; the commands said %v", results)
		}
		return
	}
	var status, pid string
	var up bool
	if _, err := fmt.Sscan(left.out, &status, &up, &pid); err != nil {
		t.Fatal(err)
	}
	active := s.try("host", "shell", "systemctl", "is-active", "cleat-"+name).out
	if up != (active == "active") || up != (pid != "0") {
		t.Errorf("container is %s, its unit %s; the commands said %v", left.out, active, results)
	}
}

// TestNewcomersAndLeavers creates and removes many containers at once while
// others look at them.
func TestNewcomersAndLeavers(t *testing.T) {
	s := shared()
	together(6, func(i int) result {
		for k := range 5 {
			name := fmt.Sprintf("crowd-%d-%d", i, k)
			if i == 5 {
				for _, look := range [][]string{{"ps", "-a"}, {"system", "check"}, {"images"}} {
					if r := s.try(look...); r.code != 0 {
						t.Errorf("%v among newcomers and leavers: %v", look, r)
					}
				}
				continue
			}
			if r := s.try("run", "-d", "--network", "none", "-v", "/data", "--name", name, "busybox", "sleep", "1000"); r.code != 0 {
				t.Errorf("run: %v", r)
			}
			if r := s.try("rm", "-f", "-v", name); r.code != 0 {
				t.Errorf("rm: %v", r)
			}
		}
		return result{}
	})
	s.clean(t)
	if entries, err := os.ReadDir(s.root + "/volumes"); err == nil && len(entries) > 0 {
		t.Errorf("%d volumes are left", len(entries))
	}
}
