package tests

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// TestNetworksAreApart shows that containers of different networks do not reach
// each other, and that an internal network has no way out or in.
func TestNetworksAreApart(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "--ipv6", "red")
	s.must(t, "network", "create", "--ipv6", "blue")
	s.must(t, "network", "create", "--internal", "inside")
	s.must(t, "network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "shy")
	s.lan.Echo("tcp", ":7000")
	for _, name := range []string{"red", "blue", "inside", "shy"} {
		s.serve(t, name+"1", "--network", name)
		s.serve(t, name+"2", "--network", name)
	}
	s.serve(t, "both", "--network", "red", "--network", "blue", "-p", "8080:80")
	addr := func(name, network string, six bool) string {
		return net.JoinHostPort(s.address(t, name, network, six), "80")
	}
	t.Run("neighbours", func(t *testing.T) {
		s.in("red1").hears(t, "tcp", addr("red2", "red", false), "red2 "+s.address(t, "red1", "red", false))
		s.in("red1").hears(t, "tcp", addr("red2", "red", true), "red2 "+s.address(t, "red1", "red", true))
		s.in("inside1").hears(t, "tcp", addr("inside2", "inside", false), "inside2 "+s.address(t, "inside1", "inside", false))
		s.in("shy1").hearsNothing(t, "tcp", addr("shy2", "shy", false))
	})
	t.Run("strangers", func(t *testing.T) {
		for _, six := range []bool{false, true} {
			s.in("red1").hearsNothing(t, "tcp", addr("blue1", "blue", six))
			s.in("blue1").hearsNothing(t, "udp", addr("red1", "red", six))
		}
		s.in("red1").hearsNothing(t, "tcp", addr("inside1", "inside", false))
		s.in("inside1").hearsNothing(t, "tcp", addr("red1", "red", false))
	})
	t.Run("on both", func(t *testing.T) {
		s.in("both").hears(t, "tcp", addr("red1", "red", false), "red1 "+s.address(t, "both", "red", false))
		s.in("both").hears(t, "tcp", addr("blue1", "blue", false), "blue1 "+s.address(t, "both", "blue", false))
		from(t, s.lan).hears(t, "tcp", hostLAN4+":8080", "both "+peerLAN4)
		s.in("red1").hears(t, "tcp", "both:80", "both "+s.address(t, "red1", "red", false))
	})
	t.Run("out", func(t *testing.T) {
		s.in("red1").hears(t, "tcp", peerLAN4+":7000", "lan "+hostLAN4)
		s.in("inside1").hearsNothing(t, "tcp", peerLAN4+":7000")
		if r := s.must(t, "run", "--rm", "--network", "inside", "busybox", "ip", "route"); strings.Contains(r, "default") {
			t.Errorf("an internal network has a default route: %s", r)
		}
	})
	t.Run("no IPv6 unasked", func(t *testing.T) { // CVE-2024-32473
		if r := s.must(t, "run", "--rm", "--network", "inside", "busybox", "ip", "-6", "addr", "show", "dev", "eth0"); r != "" {
			t.Errorf("addresses: %s", r)
		}
	})
	t.Run("in use", func(t *testing.T) {
		r := s.try("network", "rm", "red")
		if r.code != 1 || !strings.Contains(r.stderr, "red") {
			t.Errorf("network rm: %v", r)
		}
		plain(t, r.stderr)
		s.in("red1").hears(t, "tcp", addr("red2", "red", false), "red2 "+s.address(t, "red1", "red", false))
	})
	for _, name := range []string{"red1", "red2", "blue1", "blue2", "inside1", "inside2", "shy1", "shy2", "both"} {
		s.must(t, "rm", "-f", name)
	}
	s.must(t, "network", "rm", "red", "blue", "inside", "shy")
	if links := strings.Join(s.host.Links(), " "); strings.Count(links, "cl-") > 1 {
		t.Errorf("bridges left: %s", links)
	}
	s.empty(t)
}

// TestAddresses starts, kills and removes many containers on a small network at a
// time: no address is given to two of them, and none is lost.
func TestAddresses(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "--subnet", "10.77.0.0/24", "small")
	t.Run("exhausted", func(t *testing.T) {
		s.must(t, "network", "create", "--subnet", "10.78.0.0/30", "tiny")
		s.must(t, "run", "-d", "--name", "last", "--network", "tiny", "busybox", "sleep", "1000")
		r := s.try("run", "--rm", "--network", "tiny", "busybox", "true")
		if r.code != 125 || !strings.Contains(r.stderr, `network "tiny": no free address left in 10.78.0.0/30`) {
			t.Errorf("run: %v", r)
		}
		plain(t, r.stderr)
		s.must(t, "rm", "-f", "last")
		s.must(t, "run", "--rm", "--network", "tiny", "busybox", "true")
		s.must(t, "network", "rm", "tiny")
	})
	t.Run("asked for", func(t *testing.T) {
		s.must(t, "run", "-d", "--name", "mine", "--network", "small", "--ip", "10.77.0.77", "--mac-address", "02:11:22:33:44:55", "busybox", "sleep", "1000")
		if got := s.inspect(t, "mine", `{{with (index .NetworkSettings.Networks "small")}}{{.IPAddress}} {{.MacAddress}}{{end}}`); got != "10.77.0.77 02:11:22:33:44:55" {
			t.Errorf("has %s", got)
		}
		r := s.try("run", "--rm", "--network", "small", "--ip", "10.77.0.77", "busybox", "true")
		if r.code != 125 || !strings.Contains(r.stderr, "10.77.0.77 is in use by container") {
			t.Errorf("run: %v", r)
		}
		for ip, want := range map[string]string{"10.79.0.1": "10.79.0.1", "10.77.0.1": "10.77.0.1", "10.77.0.255": "10.77.0.255"} {
			if r := s.try("run", "--rm", "--network", "small", "--ip", ip, "busybox", "true"); r.code != 125 || !strings.Contains(r.stderr, want) {
				t.Errorf("--ip %s: %v", ip, r)
			}
		}
		s.must(t, "rm", "-f", "mine")
	})
	t.Run("many", func(t *testing.T) { s.storm(t, "small") })
	t.Run("nobody records the end", func(t *testing.T) {
		s.must(t, "network", "create", "--subnet", "10.78.0.0/30", "tiny")
		s.must(t, "run", "-d", "--name", "lost", "--network", "tiny", "busybox", "sleep", "1000")
		// The helper that gives the address back is killed as well.
		s.must(t, "host", "shell", "sh", "-c", `cd /sys/fs/cgroup/cleat.slice/cleat-lost.service; echo 1 > cgroup.kill; while [ -d . ] && echo 1 2>/dev/null > cgroup.kill; do :; done; true`)
		until(t, "the end of the run", func() bool {
			return s.try("host", "shell", "systemctl", "is-active", "cleat-lost.service").out != "active"
		})
		s.must(t, "run", "--rm", "--network", "tiny", "busybox", "true")
		s.must(t, "system", "check", "--repair")
		s.must(t, "rm", "-f", "lost")
		s.must(t, "network", "rm", "tiny")
	})
	s.must(t, "network", "rm", "small")
	s.empty(t)
}

// storm runs containers side by side, of which some are killed on the way, and
// checks that no two that ran at a time had the same address.
func (s netSite) storm(t *testing.T, network string) {
	t.Helper()
	const total, atOnce = 200, 10
	var mu sync.Mutex
	holder := map[string]string{}
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range total {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			name := fmt.Sprintf("storm-%d", i)
			if r := s.try("run", "-d", "--name", name, "--network", network, "busybox", "sleep", "1000"); r.code != 0 {
				t.Errorf("run %s: %v", name, r)
				return
			}
			ip := s.address(t, name, network, false)
			mu.Lock()
			if other := holder[ip]; other != "" {
				t.Errorf("%s and %s both have %s", name, other, ip)
			}
			holder[ip] = name
			mu.Unlock()
			mu.Lock()
			delete(holder, ip) // from here on somebody else may get it
			mu.Unlock()
			if i%3 == 0 {
				s.try("kill", name)
			}
			if r := s.try("rm", "-f", name); r.code != 0 {
				t.Errorf("rm %s: %v", name, r)
			}
		})
	}
	wg.Wait()
}
