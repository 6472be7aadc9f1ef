package tests

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cleat-project/cleat/internal/nstest"
)

// nameServer answers every question for an address with 192.0.2.53, and counts
// the questions.
func nameServer(t *testing.T, ns *nstest.NS, addr string) *atomic.Int64 {
	t.Helper()
	var pc net.PacketConn
	var err error
	ns.Do(func() { pc, err = net.ListenPacket("udp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	asked := new(atomic.Int64)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true}, Questions: m.Questions}
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
					Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 53}},
				}}
			}
			if msg, err := m.Pack(); err == nil {
				_, _ = pc.WriteTo(msg, from)
			}
		}
	}()
	return asked
}

// idler starts a container that does nothing.
func (s netSite) idler(t *testing.T, name string, args ...string) {
	t.Helper()
	t.Cleanup(func() { s.try("rm", "-f", name) })
	s.must(t, append(append([]string{"run", "-d", "--name", name}, args...), "busybox", "sleep", "1000")...)
}

// lookup returns the addresses of a name, or the name of an address, as container
// from sees it; "" if there is none.
func (s netSite) lookup(from, name string) string {
	var found []string
	answer := false // the server's own address comes before
	for line := range strings.Lines(s.try("exec", from, "nslookup", name).out) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "Name:":
			answer = true
		case len(f) == 2 && f[0] == "Address:" && answer:
			found = append(found, f[1])
		case len(f) == 4 && f[1] == "name":
			found = append(found, f[3])
		}
	}
	return strings.Join(found, " ")
}

func (s netSite) finds(t *testing.T, from, name, want string) {
	t.Helper()
	if got := s.lookup(from, name); got != want {
		t.Errorf("%s looks up %s: %q, want %q", from, name, got, want)
	}
}

// kept returns how many sockets the name server has in systemd's keeping.
func (s site) kept(t *testing.T) string {
	t.Helper()
	return s.must(t, "host", "shell", "systemctl", "show", "-P", "NFileDescriptorStore", "cleat-netd.service")
}

func TestNames(t *testing.T) {
	s := newNetSite(t)
	asked := nameServer(t, s.lan, peerLAN4+":53")
	s.must(t, "network", "create", "front")
	s.must(t, "network", "create", "back")
	s.must(t, "network", "create", "--internal", "inside")
	s.idler(t, "db", "--network", "back", "--network-alias", "store")
	s.idler(t, "web", "--network", "front", "--network", "back", "--network-alias", "www", "--dns", peerLAN4)
	s.idler(t, "app", "--network", "front", "--link", "web:frontend", "--dns", peerLAN4)
	s.idler(t, "in", "--network", "inside", "--dns", peerLAN4)
	s.idler(t, "plain", "--dns", peerLAN4)
	db, web := s.address(t, "db", "back", false), s.address(t, "web", "front", false)
	in := s.address(t, "in", "inside", false)

	t.Run("containers", func(t *testing.T) {
		for _, tt := range []struct{ from, name, want string }{
			{"web", "db", db}, {"web", "store", db}, {"web", "store.back", db}, {"web", db, "db.back"},
			{"web", s.inspect(t, "db", "{{.Id}}")[:12], db},
			{"app", "web", web}, {"app", "WEB.front", web}, {"app", "frontend", web},
			{"db", "web", s.address(t, "web", "back", false)},
			{"in", "in", in},
		} {
			s.finds(t, tt.from, tt.name, tt.want)
		}
		if n := asked.Load(); n != 0 {
			t.Errorf("%d questions left the machine", n)
		}
	})
	t.Run("strangers", func(t *testing.T) { // whom the name server on the LAN is asked for instead
		for _, name := range []string{"db", "in", "web.back", "plain"} {
			s.finds(t, "app", name, "192.0.2.53")
		}
	})
	t.Run("the world", func(t *testing.T) {
		s.finds(t, "web", "example.com", "192.0.2.53")
		s.finds(t, "plain", "example.com", "192.0.2.53")
	})
	t.Run("inside", func(t *testing.T) { // CVE-2024-29018
		before := asked.Load()
		for _, name := range []string{"example.com", "web", "db.back"} {
			s.finds(t, "in", name, "")
		}
		if n := asked.Load() - before; n != 0 {
			t.Errorf("%d questions left the internal network", n)
		}
	})
	t.Run("the server is replaced", func(t *testing.T) {
		pid := s.inspect(t, "web", "{{.State.Pid}}")
		for _, how := range []string{"systemctl restart cleat-netd", "systemctl kill -s KILL cleat-netd"} {
			for range 3 {
				s.must(t, "host", "shell", "sh", "-c", how)
				s.finds(t, "web", "db", db)
			}
		}
		if now := s.inspect(t, "web", "{{.State.Pid}}"); now != pid {
			t.Errorf("the container was process %s and is %s", pid, now)
		}
		if n := s.kept(t); n != "8" { // of db, web, app, in
			t.Errorf("%s sockets are kept, want 8", n)
		}
	})
	t.Run("the server is stopped", func(t *testing.T) { // systemd 252 closes what it has kept for it
		s.must(t, "host", "shell", "systemctl", "stop", "cleat-netd.service")
		t.Log(s.try("system", "check", "--repair"))
		s.finds(t, "web", "db", db)
		s.finds(t, "app", "web", web)
		s.clean(t)
	})
	t.Run("containers come and go", func(t *testing.T) {
		s.must(t, "restart", "-t", "0", "db")
		s.finds(t, "web", "db", s.address(t, "db", "back", false))
		s.finds(t, "db", "web", s.address(t, "web", "back", false))
		s.must(t, "rm", "-f", "db")
		s.finds(t, "web", "db", "192.0.2.53") // no container any more
		if n := s.kept(t); n != "6" {
			t.Errorf("%s sockets are kept, want 6", n)
		}
	})
	t.Logf("cleat-netd: %d kB", s.processes(t)["cleat-netd"].kB)
	s.must(t, "rm", "-f", "web", "app", "in", "plain")
	if n := s.kept(t); n != "0" {
		t.Errorf("%s sockets are kept", n)
	}
	for line := range strings.Lines(s.must(t, "host", "shell", "journalctl", "-u", "cleat-netd", "-q", "-o", "cat")) {
		if strings.HasPrefix(line, "cleat-netd:") {
			t.Errorf("the server warns: %s", line)
		}
	}
}

// What a container that was killed together with its end has left does not keep
// its sockets, and with them its place on the network, for ever.
func TestNamesOfLostContainers(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "front")
	s.idler(t, "web", "--network", "front")
	s.idler(t, "lost", "--network", "front")
	addr := s.address(t, "lost", "front", false)
	s.finds(t, "web", "lost", addr)
	s.must(t, "host", "shell", "sh", "-c", fmt.Sprintf(`
		mkdir -p /run/systemd/system/cleat-lost.service.d
		printf '[Service]\nExecStopPost=\n' >/run/systemd/system/cleat-lost.service.d/no-post.conf
		systemctl daemon-reload
		systemctl kill -s KILL %s`, "cleat-lost.service"))
	until(t, "the name is gone", func() bool { return s.lookup("web", "lost") != addr })
	until(t, "the sockets are closed", func() bool { return s.kept(t) == "2" })
}
