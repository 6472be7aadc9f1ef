package tests

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestBridge shows what a container on the default network has.
func TestBridge(t *testing.T) {
	s := newNetSite(t)
	s.serve(t, "one")
	s.serve(t, "two")
	one4, one6 := s.address(t, "one", "bridge", false), s.address(t, "one", "bridge", true)
	two4, two6 := s.address(t, "two", "bridge", false), s.address(t, "two", "bridge", true)
	t.Run("neighbours", func(t *testing.T) {
		for _, network := range []string{"tcp", "udp"} {
			s.in("one").hears(t, network, net.JoinHostPort(two4, "80"), "two "+one4)
			s.in("one").hears(t, network, net.JoinHostPort(two6, "80"), "two "+one6)
			from(t, s.host).hears(t, network, net.JoinHostPort(one4, "80"), "one "+s.gateway(t, "bridge", 0))
		}
	})
	t.Run("outside", func(t *testing.T) {
		s.lan.Echo("tcp", ":7000")
		s.in("one").hears(t, "tcp", net.JoinHostPort(peerLAN4, "7000"), "lan "+hostLAN4) // by the host's address
		// Nobody reaches a container that publishes nothing, not even who knows the way.
		s.lan.Route(subnet(t, one4), hostLAN4)
		from(t, s.lan).hearsNothing(t, "tcp", net.JoinHostPort(one4, "80"))
	})
	t.Run("no names", func(t *testing.T) {
		s.in("one").hearsNothing(t, "tcp", "two:80")
	})
	t.Run("files", func(t *testing.T) {
		r := s.must(t, "run", "--rm", "--hostname", "box", "--add-host", "gw:host-gateway", "busybox", "sh", "-c", "hostname; cat /etc/hosts /etc/hostname; ip -o addr show eth0")
		for _, want := range []string{"box\n", s.gateway(t, "bridge", 0) + "\tgw\n", "\tbox\n", "::1\tlocalhost"} {
			if !strings.Contains(r, want) {
				t.Errorf("no %q in\n%s", want, r)
			}
		}
	})
	t.Run("same address after a restart", func(t *testing.T) {
		s.must(t, "restart", "-t", "0", "one")
		if got := s.address(t, "one", "bridge", false); got != one4 {
			t.Errorf("address %s, was %s", got, one4)
		}
	})
	t.Run("shared namespace", func(t *testing.T) {
		s.listening(t, "one")
		r := s.must(t, "run", "--rm", "--network", "container:one", "peer", "ask", "tcp", "127.0.0.1:80")
		if r != "one 127.0.0.1" {
			t.Errorf("answer %q", r)
		}
	})
	s.must(t, "rm", "-f", "one", "two")
	s.empty(t)
}

// subnet returns the /16 that an address is in.
func subnet(t testing.TB, addr string) string {
	t.Helper()
	parts := strings.Split(addr, ".")
	if len(parts) != 4 {
		t.Fatalf("address %q", addr)
	}
	return fmt.Sprintf("%s.%s.0.0/16", parts[0], parts[1])
}

// gateway returns the host's address in a network.
func (s netSite) gateway(t testing.TB, network string, i int) string {
	t.Helper()
	return s.must(t, "network", "inspect", "-f", fmt.Sprintf("{{(index .IPAM.Config %d).Gateway}}", i), network)
}

// empty fails the test if a container has left something on the host.
func (s netSite) empty(t testing.TB) {
	t.Helper()
	until(t, "the devices are gone", func() bool { return !strings.Contains(strings.Join(s.host.Links(), " "), "cv") })
	if r := s.must(t, "host", "shell", "sh", "-c", "cd /run/cleat/net && ls live last; cd leases && for n in *; do ls $n; done"); strings.TrimSpace(strings.NewReplacer("live:", "", "last:", "").Replace(r)) != "" {
		t.Errorf("left behind: %s", r)
	}
	for _, name := range []string{"ports4", "any4", "ports6", "any6"} {
		if r := s.host.Run("nft", "list", "map", "inet", s.table(t), name); strings.Contains(r, "elements") {
			t.Errorf("published ports left: %s", r)
		}
	}
	if r := s.systemctl(t, "list-units", "--no-legend", "cleat-*.socket"); strings.Count(r, "\n") > 1 { // stdiod's and netd's
		t.Errorf("sockets left: %s", r)
	}
	s.clean(t)
}

// table returns the name of the host's firewall table of cleat's.
func (s netSite) table(t testing.TB) string {
	t.Helper()
	for line := range strings.Lines(s.host.Run("nft", "list", "tables", "inet")) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[2], "cleat") {
			return f[2]
		}
	}
	t.Fatal("no table of cleat's")
	return ""
}
