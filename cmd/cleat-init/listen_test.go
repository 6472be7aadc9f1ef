package main

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/sandbox"
)

// withSockets has the service manager hand n listening sockets over, to the process that
// becomes cleat-init.
func (r *rig) withSockets(n int) *rig {
	r.t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = l.Close(); _ = f.Close() })
		r.sockets = append(r.sockets, f)
	}
	return r
}

// The payload gets exactly the sockets of its unit, and is told so (CVE-2024-21626:
// no other descriptor).
func TestInheritedSockets(t *testing.T) {
	for name, tt := range map[string]struct {
		sockets int
		change  func(*rig)
		pid     string // as the payload sees it, "" for whatever it is
	}{
		"one":  {sockets: 1, pid: "1"},
		"many": {sockets: 40, pid: "1"}, // more than there is room below the program's own descriptor
		"variables of it": {sockets: 2, pid: "1", change: func(r *rig) {
			r.plan.Config.Process.Env = append(r.plan.Config.Process.Env, "LISTEN_PID=7", "LISTEN_FDS=9", "LISTEN_FDNAMES=x")
		}},
		"with an init": {sockets: 2, change: func(r *rig) { r.plan.Annex.Init = built.init }},
		"a terminal":   {sockets: 2, pid: "1", change: func(r *rig) { r.plan.Annex.Stdio.TTY = true }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/bin/probe").withSockets(tt.sockets)
			r.plan.Annex.Inherit = true
			if tt.change != nil {
				tt.change(r)
			}
			p := r.create().probe()
			want := []string{"0", "1", "2"}
			for i := range tt.sockets {
				want = append(want, itoa(3+i))
			}
			got := probeFDs(p)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("descriptors (-want +got):\n%s", diff)
			}
			for i := range tt.sockets {
				if here, err := os.Readlink("/proc/self/fd/" + itoa(int(r.sockets[i].Fd()))); err != nil || p.FDs[itoa(3+i)] != here {
					t.Errorf("descriptor %d is %s, want %s", 3+i, p.FDs[itoa(3+i)], here)
				}
			}
			pid := tt.pid
			if pid == "" {
				pid = itoa(p.PID)
			}
			wantEnv := []string{"LISTEN_FDNAMES=" + names(tt.sockets), "LISTEN_FDS=" + itoa(tt.sockets), "LISTEN_PID=" + pid}
			var env []string
			for _, kv := range p.Env {
				if strings.HasPrefix(kv, "LISTEN_") {
					env = append(env, kv)
				}
			}
			slices.Sort(env)
			if diff := cmp.Diff(wantEnv, env); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func names(n int) string { return strings.TrimSuffix(strings.Repeat("web:", n), ":") }

// Sockets that only reserve ports are not for the payload.
func TestReservedSockets(t *testing.T) {
	p := newRig(t, "/bin/probe").withSockets(3).create().probe()
	got := probeFDs(p)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"0", "1", "2"}, got); diff != "" {
		t.Errorf("descriptors (-want +got):\n%s", diff)
	}
	for _, kv := range p.Env {
		if strings.HasPrefix(kv, "LISTEN_") {
			t.Errorf("environment has %s", kv)
		}
	}
}

// A container that inherits its sockets does not start without them.
func TestNoSocketsToInherit(t *testing.T) {
	r := newRig(t, "/bin/probe")
	r.plan.Annex.Inherit = true
	if s := r.create().start(); s.code != sandbox.ExitFailed || !strings.Contains(s.stderr, "start it by way of cleat-") {
		t.Errorf("exit code %d, %s", s.code, s.stderr)
	}
}
