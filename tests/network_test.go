package tests

import (
	"fmt"
	"net"
	"slices"
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
	if r := s.must(t, "host", "shell", "sh", "-c", "cd /run/cleat/net && ls live last 2>/dev/null; find leases -type l ! -name '.*' 2>/dev/null; true"); strings.TrimSpace(strings.NewReplacer("live:", "", "last:", "").Replace(r)) != "" {
		t.Errorf("left behind: %s", r)
	}
	for _, name := range []string{"ports4", "any4", "ports6", "any6"} {
		if r := s.host.Run("nft", "list", "map", "inet", s.table(t), name); strings.Contains(r, "elements") {
			t.Errorf("published ports left: %s", r)
		}
	}
	own := []string{"cleat-stdiod.socket", "cleat-netd.socket", "cleat-healthd.socket", "cleat-network-restore.socket"}
	for line := range strings.Lines(s.systemctl(t, "list-units", "--plain", "--no-legend", "cleat-*.socket")) {
		if f := strings.Fields(line); len(f) > 0 && !slices.Contains(own, f[0]) {
			t.Errorf("socket left: %s", line)
		}
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

// TestPublish shows who reaches a published port, and who does not.
func TestPublish(t *testing.T) {
	s := newNetSite(t)
	s.serve(t, "web", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:80", "-p", "[::1]:8081:80", "-p", hostLAN4+":8082:80")
	s.serve(t, "other")
	web4 := s.address(t, "web", "bridge", false)
	gw4, gw6 := s.gateway(t, "bridge", 0), s.gateway(t, "bridge", 1)
	lan, host := from(t, s.lan), from(t, s.host)
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			lan.hears(t, network, hostLAN4+":8080", "web "+peerLAN4) // the client's own address
			lan.hears(t, network, "["+hostLAN6+"]:8080", "web "+peerLAN6)
			host.hears(t, network, hostLAN4+":8080", "web "+hostLAN4)
			host.hears(t, network, "127.0.0.1:8080", "web "+gw4)
			host.hears(t, network, "[::1]:8080", "web "+gw6)
			s.in("other").hears(t, network, hostLAN4+":8080", "web "+gw4) // hairpin
			s.in("web").hears(t, network, hostLAN4+":8080", "web "+gw4)
			s.in("other").hears(t, network, net.JoinHostPort(gw6, "8080"), "web "+gw6)
		})
	}
	t.Run("on one address", func(t *testing.T) {
		host.hears(t, "tcp", "127.0.0.1:8081", "web "+gw4)
		host.hears(t, "tcp", "[::1]:8081", "web "+gw6)
		lan.hears(t, "tcp", hostLAN4+":8082", "web "+peerLAN4)
		host.hearsNothing(t, "tcp", "127.0.0.1:8082")
		lan.hearsNothing(t, "tcp", "["+hostLAN6+"]:8082")
	})
	t.Run("loopback stays closed", func(t *testing.T) { // CVE-2020-8558 and its kind
		lan.hearsNothing(t, "tcp", hostLAN4+":8081")
		lan.hearsNothing(t, "tcp", "["+hostLAN6+"]:8081")
		s.in("other").hearsNothing(t, "tcp", gw4+":8081")
		s.lan.Run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
		s.lan.Run("ip", "route", "add", "127.0.0.1/32", "via", hostLAN4, "dev", "host", "onlink")
		s.lan.SetSysctl("ipv4/conf/all/route_localnet", "1")
		lan.hearsNothing(t, "tcp", "127.0.0.1:8081")
		s.lan.Run("ip", "route", "add", subnet(t, web4), "via", hostLAN4)
		lan.hearsNothing(t, "tcp", net.JoinHostPort(web4, "80"))
	})
	t.Run("listed", func(t *testing.T) {
		sockets := s.systemctl(t, "list-sockets", "--no-legend")
		for _, want := range []string{"0.0.0.0:8080", "[::]:8080", "127.0.0.1:8081", "[::1]:8081", hostLAN4 + ":8082"} {
			if !strings.Contains(sockets, want) {
				t.Errorf("no %s in\n%s", want, sockets)
			}
		}
		if got := s.must(t, "port", "web", "80/udp"); got != "0.0.0.0:8080\n[::]:8080" {
			t.Errorf("port: %q", got)
		}
		if got := s.must(t, "ps", "--filter", "name=web", "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:8080->80/tcp") {
			t.Errorf("ps: %q", got)
		}
	})
	s.must(t, "rm", "-f", "web", "other")
	s.empty(t)
}

// TestPortsAreReserved shows what happens to those who want a port that is taken.
func TestPortsAreReserved(t *testing.T) {
	s := newNetSite(t)
	s.serve(t, "holder", "--restart=always", "-p", "8080:80")
	t.Run("by a container", func(t *testing.T) {
		for _, p := range []string{"8080:80", "127.0.0.1:8080:80", "8079-8081:80-82"} {
			r := s.try("run", "-d", "--rm", "--name", "late", "-p", p, "peer")
			if want := `port 8080/tcp on 0.0.0.0 is already allocated (by container "holder")`; r.code != 125 || !strings.Contains(r.stderr, "already allocated (by container \"holder\")") {
				t.Errorf("-p %s: %v, want %s", p, r, want)
			}
			plain(t, r.stderr)
		}
		if r := s.try("inspect", "late"); r.code == 0 {
			t.Error("a container with --rm is left that could not be started")
		}
		s.must(t, "run", "--rm", "--name", "udp", "-p", "8080:80/udp", "busybox", "true")
	})
	t.Run("by another program", func(t *testing.T) {
		s.host.Echo("tcp4", "127.0.0.1:9000")
		s.must(t, "create", "--name", "late", "-p", "9000:80", "peer")
		r := s.try("start", "late")
		if r.code != 1 || !strings.Contains(r.stderr, "port 9000/tcp on 0.0.0.0 is already allocated") {
			t.Errorf("start: %v", r)
		}
		s.must(t, "rm", "late")
	})
	t.Run("for a program of the host", func(t *testing.T) {
		if out, err := s.host.Try("nc", "-h"); err != nil && out == "" {
			t.Log("no nc") // it is only a second opinion
		}
		r := s.try("host", "shell", "systemd-socket-activate", "-l", "0.0.0.0:8080", "/bin/true")
		if r.code == 0 {
			t.Error("another program could have the port")
		}
	})
	t.Run("again at once", func(t *testing.T) {
		for i := range 10 {
			if r := s.try("run", "--rm", "-p", "8090:80", "busybox", "true"); r.code != 0 {
				t.Fatalf("run %d: %v", i, r)
			}
		}
		for i := range 5 {
			s.must(t, "run", "-d", "--name", "again", "-p", "8091:80", "peer")
			s.must(t, "rm", "-f", "again")
			if i == 0 {
				s.must(t, "run", "--rm", "-p", "8091:80", "busybox", "true")
			}
		}
	})
	t.Run("over a crash restart", func(t *testing.T) {
		pid := s.inspect(t, "holder", "{{.State.Pid}}")
		s.must(t, "host", "shell", "kill", "-9", pid)
		if r := s.try("run", "--rm", "-p", "8080:80", "busybox", "true"); r.code != 125 {
			t.Errorf("the port was free during a restart: %v", r)
		}
		until(t, "the restart", func() bool { return s.inspect(t, "holder", "{{.State.Running}} {{.RestartCount}}") == "true 1" })
		until(t, "an answer", func() bool { _, err := from(t, s.lan)("tcp", hostLAN4+":8080"); return err == nil })
	})
	t.Run("chosen", func(t *testing.T) {
		s.serve(t, "any", "-P", "-p", "20000-20010:81")
		s.serve(t, "next", "-p", "20000-20010:81")
		port := s.must(t, "port", "any", "80/tcp")
		_, p, _ := net.SplitHostPort(strings.Split(port, "\n")[0])
		from(t, s.lan).hears(t, "tcp", net.JoinHostPort(hostLAN4, p), "any "+peerLAN4)
		if a, b := s.must(t, "port", "any", "81"), s.must(t, "port", "next", "81"); a == b || !strings.HasPrefix(b, "0.0.0.0:200") {
			t.Errorf("ports %s and %s", a, b)
		}
	})
	t.Run("bad", func(t *testing.T) {
		for p, want := range map[string]string{
			"70000:80": "70000", "80:0": "0 is not a port", "1-3:4-5": "2 ports in the container, but 3 on the host", "80/icmp": "icmp",
			"192.0.2.1:80:80": "192.0.2.1 is not an address of this host", "[fe80::1%eth0]:80:80": "fe80::1",
		} {
			r := s.try("run", "--rm", "-p", p, "busybox", "true")
			if r.code != 125 || !strings.Contains(r.stderr, want) {
				t.Errorf("-p %s: %v, want %q", p, r, want)
			}
			plain(t, r.stderr)
		}
	})
	s.must(t, "rm", "-f", "holder")
	s.empty(t)
}

// TestLinks shows what --link tells a container on the default network, as Docker
// does: a line of /etc/hosts and variables.
func TestLinks(t *testing.T) {
	s := newNetSite(t)
	s.serve(t, "database", "-e", "DB_USER=me", "--expose", "90/udp")
	ip := s.address(t, "database", "bridge", false)
	run := []string{"run", "--rm", "--name", "app", "--link", "database:my-db", "-e", "MY_DB_PORT=own"}
	out := s.must(t, append(run, "busybox", "sh", "-c", "cat /etc/hosts; env")...)
	id := s.inspect(t, "database", "{{.Id}}")[:12]
	for _, want := range []string{
		ip + "\tmy-db " + id + " database\n", "MY_DB_NAME=/app/my-db\n", "MY_DB_PORT=own\n", "MY_DB_PORT_80_TCP=tcp://" + ip + ":80\n",
		"MY_DB_PORT_80_TCP_ADDR=" + ip + "\n", "MY_DB_PORT_80_TCP_PORT=80\n", "MY_DB_PORT_90_UDP_PROTO=udp\n", "MY_DB_ENV_DB_USER=me\n",
	} {
		if !strings.Contains(out+"\n", want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "MY_DB_PORT=tcp") {
		t.Errorf("a variable of the user's is set twice:\n%s", out)
	}
	if got := s.must(t, append(run, "peer", "ask", "tcp", "my-db:80")...); !strings.HasPrefix(got, "database ") {
		t.Errorf("answer %q", got)
	}
	s.must(t, "stop", "-t", "0", "database")
	r := s.try(append(run, "busybox", "true")...)
	if r.code != 125 || !strings.Contains(r.stderr, `cannot link to container "database" as "my-db": it is not running`) {
		t.Errorf("run: %v", r)
	}
	plain(t, r.stderr)
	s.must(t, "rm", "-f", "database")
	s.empty(t)
}

// TestNameServerInAContainer publishes port 53, which cleat's own name server does
// not take, next to names that it looks up.
func TestNameServerInAContainer(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "named")
	for _, name := range []string{"first", "second"} {
		t.Cleanup(func() { s.try("rm", "-f", name) })
	}
	s.must(t, "run", "-d", "--name", "first", "--hostname", "first", "--network", "named", "-p", "53:53/udp", "-p", "53:53", "peer", "serve", "udp::53", "tcp::53")
	s.listening(t, "first")
	s.serve(t, "second", "--network", "named")
	for _, network := range []string{"udp", "tcp"} {
		from(t, s.lan).hears(t, network, hostLAN4+":53", "first "+peerLAN4)
		s.in("second").hears(t, network, "first:53", "first "+s.address(t, "second", "named", false))
	}
	s.in("first").hears(t, "tcp", "second:80", "second "+s.address(t, "first", "named", false))
	s.must(t, "rm", "-f", "first", "second")
	s.must(t, "network", "rm", "named")
	s.empty(t)
}

// TestManyPorts publishes more ports than systemd can hand over with the limit of
// descriptors that services usually have.
func TestManyPorts(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	s.serve(t, "many", "-p", "20000-20519:20000-20519", "-p", "80:80")
	from(t, s.lan).hears(t, "tcp", hostLAN4+":80", "many "+peerLAN4)
	s.must(t, "rm", "-f", "many")
	s.empty(t)
}
