package tests

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/nstest"
)

// TestActivateFD shows a container that the first connection starts, and that
// inherits the sockets.
func TestActivateFD(t *testing.T) {
	s := newNetSite(t)
	for name, args := range map[string][]string{
		"without a network":  {"--network", "none"},
		"with an init":       {"--network", "none", "--init"},
		"with the host's":    {"--network", "host"},
		"on a network":       {},
		"as another user":    {"--network", "none", "--user", "1000", "--read-only", "--cap-drop", "ALL"},
		"with an unlike env": {"--network", "none", "-e", "LISTEN_FDS=77", "-e", "LISTEN_PID=1", "--init"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { s.try("rm", "-f", "web") })
			s.must(t, append(append([]string{"run", "-d", "--name", "web", "--hostname", "web", "--activate", "fd", "-p", "8080:80", "-p", "127.0.0.1:8081:81/udp"}, args...), "peer", "inherit")...)
			s.asleep(t, "web")
			from(t, s.host).hears(t, "udp", "127.0.0.1:8081", "web 127.0.0.1")
			from(t, s.lan).hears(t, "tcp", hostLAN4+":8080", "web "+peerLAN4)
			from(t, s.lan).hears(t, "tcp", "["+hostLAN6+"]:8080", "web "+peerLAN6)
			if got, want := s.must(t, "logs", "web"), "3 web:web:web\nready"; got != want {
				t.Errorf("logs %q, want %q", got, want)
			}
			if got := s.must(t, "port", "web"); !strings.Contains(got, "80/tcp -> 0.0.0.0:8080") {
				t.Errorf("port: %q", got)
			}
			s.must(t, "stop", "-t", "0", "web")
			from(t, s.lan).hearsNothing(t, "tcp", hostLAN4+":8080")
			s.must(t, "rm", "web")
		})
	}
	s.empty(t)
}

// asleep fails the test unless a container sleeps.
func (s netSite) asleep(t testing.TB, name string) {
	t.Helper()
	if got := s.inspect(t, name, "{{.State.Status}} {{.State.Running}} {{.State.Pid}}"); got != "sleeping false 0" {
		t.Errorf("state %q, want sleeping", got)
	}
	if got := s.must(t, "ps", "--filter", "name=^"+name+"$", "--format", "{{.State}}"); got != "sleeping" {
		t.Errorf("ps: %q, want sleeping", got)
	}
}

// TestActivateProxy shows a container of an unmodified image that sleeps until it is
// needed.
func TestActivateProxy(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--activate", "proxy", "-p", "8080:80", "-p", "8080:80/udp", "peer")
	s.asleep(t, "web")
	lan := from(t, s.lan)
	gw4 := s.gateway(t, "bridge", 0)
	lan.hears(t, "tcp", hostLAN4+":8080", "web "+gw4) // it comes by the host
	until(t, "later ones come by themselves", func() bool {
		got, err := lan("tcp", hostLAN4+":8080")
		if err != nil {
			t.Fatal(err)
		}
		return got == "web "+peerLAN4
	})
	lan.hears(t, "udp", "["+hostLAN6+"]:8080", "web "+s.gateway(t, "bridge", 1))
	s.must(t, "stop", "-t", "0", "web")
	lan.hearsNothing(t, "tcp", hostLAN4+":8080")
	if got := s.inspect(t, "web", "{{.State.Status}}"); got != "exited" {
		t.Errorf("state %q after stop", got)
	}
	s.must(t, "start", "web")
	lan.hears(t, "udp", hostLAN4+":8080", "web "+gw4)
	s.must(t, "rm", "-f", "web")
	s.empty(t)
}

// All who come at once while a container sleeps get their answers, and it falls
// asleep again once they have gone.
func TestSleepAndWake(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--restart", "always", "--activate", "proxy", "--idle-timeout", "1s", "-p", "8080:80", "-p", "8081:80/udp", "peer")
	for round := range 2 {
		network, addr := "tcp", hostLAN4+":8080"
		if round == 1 {
			network, addr = "udp", hostLAN4+":8081"
		}
		if out, err := s.lan.Try(filepath.Join(env.root, "peer"), "crowd", network, addr, "50"); err != nil {
			t.Errorf("50 clients over %s: %v: %s", network, err, out)
		}
		if got := s.inspect(t, "web", "{{.State.Status}}"); got != "running" {
			t.Errorf("state %q while it is used", got)
		}
		until(t, "it sleeps", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "sleeping" })
		if got := s.inspect(t, "web", "{{.RestartCount}} {{.State.Restarting}} {{.State.OOMKilled}} {{.State.Error}}"); got != "0 false false " {
			t.Errorf("asleep: %s", got)
		}
	}
	until(t, "only sockets are left", func() bool {
		return !strings.Contains(s.systemctl(t, "list-units", "--no-legend", "cleat-web*.service"), "running")
	})
	// An open connection keeps it awake.
	conn := s.dial(t, s.lan, "tcp", hostLAN4+":8080")
	until(t, "it wakes", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "running" })
	for range 8 {
		s.host.Run("sleep", "0.3")
		if got := s.inspect(t, "web", "{{.State.Status}}"); got != "running" {
			t.Fatalf("state %q with a connection open", got)
		}
	}
	conn.Close()
	until(t, "it sleeps", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "sleeping" })
	s.must(t, "start", "web")
	if got := s.inspect(t, "web", "{{.State.Status}}"); got != "running" {
		t.Errorf("state %q after start", got)
	}
	s.must(t, "rm", "-f", "web")
	s.empty(t)
}

// dial opens a connection from a namespace.
func (s netSite) dial(t testing.TB, ns *nstest.NS, network, addr string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	ns.Do(func() { conn, err = net.Dial(network, addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// While a container is restarted its port stays open, and new connections wait.
func TestRestartUnderLoad(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--activate", "proxy", "-p", "8080:80", "peer")
	lan := from(t, s.lan)
	lan.hears(t, "tcp", hostLAN4+":8080", "web "+s.gateway(t, "bridge", 0))
	end := s.load(t, s.lan, hostLAN4+":8080")
	pid := s.inspect(t, "web", "{{.State.Pid}}")
	for _, args := range [][]string{{"restart", "web"}, {"restart", "-t", "0", "web"}, {"restart", "-s", "INT", "-t", "5", "web"}} {
		s.must(t, args...)
		next := s.inspect(t, "web", "{{.State.Pid}} {{.State.Status}} {{.RestartCount}}")
		if next == pid+" running 0" || !strings.HasSuffix(next, " running 0") {
			t.Errorf("%s: was process %s, is %s", args, pid, next)
		}
		pid, _, _ = strings.Cut(next, " ")
	}
	s.systemctl(t, "restart", "cleat-web.service")
	asked, cut := end()
	t.Logf("%d connections, of which %d had begun and were cut off", asked, cut)
	if asked == 0 {
		t.Error("there was no load")
	}
	s.must(t, "rm", "-f", "web")
	s.empty(t)
}

// load has a few clients in a namespace ask again and again. The returned function
// ends that; it fails the test if somebody was refused, or waited in vain.
func (s netSite) load(t testing.TB, ns *nstest.NS, addr string) (end func() (asked, cut int)) {
	t.Helper()
	cmd := exec.Command(filepath.Join(env.root, "peer"), "storm", addr, "4")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	return func() (asked, cut int) {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, out.String())
		}
		_, _ = fmt.Sscan(out.String(), &asked, &cut)
		return asked, cut
	}
}
