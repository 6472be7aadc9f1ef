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
			until(t, "it has said what it inherited", func() bool { return s.must(t, "logs", "web") == "3 web:web:web\nready" })
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
	// Who has paused it wants to find it so.
	s.must(t, "pause", "web")
	s.host.Run("sleep", "2")
	if got := s.inspect(t, "web", "{{.State.Status}}"); got != "paused" {
		t.Errorf("state %q, was paused", got)
	}
	s.must(t, "unpause", "web")
	until(t, "it sleeps", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "sleeping" })
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
	for _, args := range [][]string{{"update", "--pids-limit", "200", "web"}, {"update", "--restart", "always", "web"}, {"restart", "web"}, {"update", "--restart", "no", "web"}} {
		s.must(t, args...)
	}
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

// TestSleepingContainer shows what the verbs do with a container that sleeps.
func TestSleepingContainer(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--restart", "unless-stopped", "--activate", "proxy", "-p", "8080:80", "-p", "80", "peer")
	s.asleep(t, "web")
	lan := from(t, s.lan)
	_, port, _ := strings.Cut(s.must(t, "port", "web", "80/tcp"), "0.0.0.0:8080\n0.0.0.0:")
	port, _, _ = strings.Cut(port, "\n")
	t.Run("keeps its ports", func(t *testing.T) {
		r := s.try("run", "--rm", "-p", "8080:80", "busybox", "true")
		if r.code != 125 || !strings.Contains(r.stderr, `already allocated (by container "web")`) {
			t.Errorf("another container: %v", r)
		}
		s.asleep(t, "web")
	})
	t.Run("is not up", func(t *testing.T) {
		for _, verb := range []string{"kill", "pause", "exec"} {
			args := []string{verb, "web"}
			if verb == "exec" {
				args = append(args, "true")
			}
			if r := s.try(args...); r.code == 0 {
				t.Errorf("%s: %v", verb, r)
			} else {
				plain(t, r.stderr)
			}
		}
		if got := s.must(t, "wait", "web"); got != "0" {
			t.Errorf("wait: %q", got)
		}
		s.must(t, "container", "prune", "-f")
		s.asleep(t, "web")
	})
	t.Run("system check", func(t *testing.T) {
		s.clean(t)
		s.must(t, "system", "check", "--repair")
		s.asleep(t, "web")
	})
	t.Run("is changed", func(t *testing.T) {
		s.must(t, "update", "--memory", "64m", "web")
		s.must(t, "rename", "web", "shop")
		s.asleep(t, "shop")
		lan.hears(t, "tcp", hostLAN4+":"+port, "web "+s.gateway(t, "bridge", 0))
		if got := s.inspect(t, "shop", "{{.State.Status}} {{.HostConfig.Memory}}"); got != "running 67108864" {
			t.Errorf("after a change: %s", got)
		}
		s.must(t, "restart", "-t", "0", "shop") // gets the unit of its name
		_, port, _ := strings.Cut(s.must(t, "port", "shop", "80/tcp"), "0.0.0.0:8080\n0.0.0.0:")
		port, _, _ = strings.Cut(port, "\n")
		s.must(t, "restart", "-t", "0", "shop")
		lan.hears(t, "tcp", hostLAN4+":8080", "web "+s.gateway(t, "bridge", 0))
		if got := s.must(t, "port", "shop", "80/tcp"); !strings.Contains(got, "0.0.0.0:"+port) {
			t.Errorf("port %s has become %q", port, got)
		}
	})
	t.Run("comes back at boot", func(t *testing.T) {
		s.systemctl(t, "stop", "cleat-shop.service")
		s.asleep(t, "shop")
		if got := s.systemctl(t, "is-enabled", "cleat-shop.socket"); got != "enabled" {
			t.Errorf("the socket is %s", got)
		}
		s.must(t, "stop", "shop")
		if r := s.try("host", "shell", "systemctl", "is-enabled", "cleat-shop.socket"); r.out != "disabled" {
			t.Errorf("the socket is %s after stop", r.out)
		}
	})
	s.must(t, "start", "shop")
	s.must(t, "stop", "-t", "0", "shop")
	s.must(t, "rm", "shop")
	s.empty(t)
	if r := s.try("host", "shell", "sh", "-c", "ls "+s.root+"/units | grep -e web -e shop"); r.code == 0 {
		t.Errorf("unit files left: %s", r.out)
	}
}

// TestWakeInVain shows what becomes of connections to a container that cannot be
// woken, or does not listen.
func TestWakeInVain(t *testing.T) {
	s := newNetSite(t)
	lan := from(t, s.lan)
	s.must(t, "run", "-d", "--name", "none", "--activate", "proxy", "-p", "8080:80", "--entrypoint", "/missing", "peer")
	s.must(t, "run", "-d", "--name", "short", "--activate", "proxy", "-p", "8081:80", "busybox", "true")
	s.must(t, "run", "-d", "--name", "fd", "--activate", "fd", "-p", "8082:80", "--entrypoint", "/missing", "peer")
	for port, name := range map[string]string{"8080": "none", "8081": "short"} {
		for range 3 {
			if got, err := lan("tcp", hostLAN4+":"+port); err == nil || strings.Contains(got, "timeout") {
				t.Errorf("%s answers %q, %v, want an end at once", name, got, err)
			}
		}
		until(t, name+" sleeps again", func() bool { return s.inspect(t, name, "{{.State.Status}}") == "sleeping" })
	}
	if got := s.inspect(t, "none", "{{.State.ExitCode}} {{.State.Error}}"); !strings.HasPrefix(got, "127 ") {
		t.Errorf("state %q", got)
	}
	if r := s.try("start", "none"); r.code != 1 || !strings.Contains(r.stderr, "/missing") {
		t.Errorf("start: %v", r)
	}
	lan.hearsNothing(t, "tcp", hostLAN4+":8082")
	s.must(t, "rm", "-f", "none", "short", "fd")
	// One whose payload dies is started again by the next connection.
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--activate", "proxy", "-p", "8080:80", "peer")
	gw4 := s.gateway(t, "bridge", 0)
	for range 3 {
		lan.hears(t, "tcp", hostLAN4+":8080", "web "+gw4)
		until(t, "it is led past the proxy", func() bool { got, _ := lan("tcp", hostLAN4+":8080"); return got == "web "+peerLAN4 })
		s.must(t, "host", "shell", "kill", "-9", s.inspect(t, "web", "{{.State.Pid}}"))
		until(t, "it sleeps", func() bool { return s.inspect(t, "web", "{{.State.Status}}") == "sleeping" })
	}
	s.must(t, "rm", "-f", "web")
	s.empty(t)
}

func TestActivationRefusals(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--activate fd", "publish some with -p"},
		{"--activate proxy -P", "publish some with -p"},
		{"--activate proxy -p 80:80/sctp", "sctp cannot start a container"},
		{"--activate fd -p 80:80/sctp", "sctp cannot start a container"},
		{"--activate maybe -p 80:80", "must be fd or proxy"},
		{"--activate proxy -p 80:80 --network host", `not network mode "host"`},
		{"--activate proxy -p 80:80 --network none", `not network mode "none"`},
		{"--activate fd -p 80:80 --rm", "--rm would remove it"},
		{"--activate fd -p 80:80 --idle-timeout 10m", "needs --activate proxy"},
		{"--idle-timeout 10m -p 80:80", "needs --activate proxy"},
		{"--activate proxy -p 80:80 --idle-timeout -1s", "must not be negative"},
		{"--activate proxy -p 80:80 --idle-timeout 10", "want a number with a unit"},
		{"--activate proxy -p 80:80 --idle-timeout 10ms", "at least 1s"},
	} {
		r := shared().try(append(append([]string{"run", "-d"}, strings.Fields(tt.args)...), "busybox", "true")...)
		if r.code != 125 || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, r, tt.want)
		}
		plain(t, r.stderr)
	}
	r := shared().try("run", "--activate", "fd", "-p", "80:80", "--network", "none", "busybox", "true")
	if r.code != 125 || !strings.Contains(r.stderr, "add --detach") {
		t.Errorf("in the foreground: %v", r)
	}
}

// TestSleepOverReboot shows that the sockets come back at boot, and not the container.
func TestSleepOverReboot(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "run", "-d", "--name", "fd", "--restart", "always", "--network", "none", "--activate", "fd", "-p", "8080:80", "peer", "inherit")
	s.must(t, "run", "-d", "--name", "web", "--hostname", "web", "--restart", "always", "--activate", "proxy", "-p", "8081:80", "peer")
	s.must(t, "run", "-d", "--name", "gone", "--activate", "proxy", "-p", "8082:80", "peer")
	s.must(t, "start", "web")
	s.must(t, "host", "stop")
	s.must(t, "host", "start", "--private-network")
	s.host = nstest.Of(t, "host", s.hostPID(t))
	s.asleep(t, "fd")
	s.asleep(t, "web")
	if got := s.inspect(t, "gone", "{{.State.Status}}"); got != "exited" && got != "created" {
		t.Errorf("without a restart policy: %s", got)
	}
	host := from(t, s.host)
	host.hears(t, "tcp", "127.0.0.1:8080", s.inspect(t, "fd", "{{.Config.Hostname}}")+" 127.0.0.1")
	host.hears(t, "tcp", "127.0.0.1:8081", "web "+s.gateway(t, "bridge", 0))
	s.must(t, "rm", "-f", "fd", "web", "gone")
	s.empty(t)
}

// TestUserland shows who carries connections that the firewall cannot lead to an
// ordinary container: those over IPv6 to a network without it.
func TestUserland(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "--ipv6=false", "four")
	gw := s.gateway(t, "four", 0)
	s.serve(t, "web", "--restart", "always", "--network", "four", "-p", "8080:80", "-p", "8080:80/udp", "-p", "["+hostLAN6+"]:8081:80")
	host, lan := from(t, s.host), from(t, s.lan)
	hear := func(network string) {
		t.Helper()
		lan.hears(t, network, hostLAN4+":8080", "web "+peerLAN4)
		lan.hears(t, network, "["+hostLAN6+"]:8080", "web "+gw)
		host.hears(t, network, "[::1]:8080", "web "+gw)
	}
	hear("tcp")
	lan.hears(t, "tcp", "["+hostLAN6+"]:8081", "web "+gw)
	if out, err := s.lan.Try(filepath.Join(env.root, "peer"), "pour", "tcp", "["+hostLAN6+"]:8080", "50000000"); err != nil {
		t.Errorf("pour: %v: %s", err, out)
	}
	if r := s.try("run", "--rm", "-p", "[::1]:8080:80", "busybox", "true"); r.code != 125 || !strings.Contains(r.stderr, `(by container "web")`) {
		t.Errorf("another container: %v", r)
	}
	until(t, "the proxy has gone", func() bool {
		return s.try("host", "shell", "systemctl", "is-active", "cleat-web:proxy.service").out != "active"
	})
	hear("udp")
	t.Run("over a crash restart", func(t *testing.T) {
		s.must(t, "host", "shell", "kill", "-9", s.inspect(t, "web", "{{.State.Pid}}"))
		until(t, "an answer", func() bool { got, _ := lan("tcp", "["+hostLAN6+"]:8080"); return got == "web "+gw })
	})
	// The ports are free as soon as it has stopped, an open connection or not.
	conn := s.dial(t, s.lan, "tcp", "["+hostLAN6+"]:8080")
	if _, err := conn.Write([]byte("drain\n")); err != nil {
		t.Fatal(err)
	}
	s.must(t, "stop", "-t", "0", "web")
	s.must(t, "run", "--rm", "-p", "8080:80", "-p", "8080:80/udp", "busybox", "true")
	s.must(t, "rm", "web")
	s.must(t, "network", "rm", "four")
	s.empty(t)
}
