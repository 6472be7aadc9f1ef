package wire_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
)

// startActivated runs a container that connections start.
func (s *site) startActivated(n *netd.Network, name string, published ...string) *nstest.NS {
	s.t.Helper()
	box := nstest.New(s.t, name)
	box.Echo("tcp", ":80")
	box.Echo("udp", ":80")
	s.wire(box, netd.Wiring{
		Table: table, Ports: ports(s.t, published...), Activated: true,
		Connections: []netd.Connection{{NetworkID: n.ID, Attachment: netd.Attachment{DefaultRoute: true}}},
	}, idOf(name))
	return box
}

func (s *site) wire(box *nstest.NS, w netd.Wiring, id string) {
	s.t.Helper()
	s.onHost(func(ctx context.Context) error {
		l, err := s.wires.Prepare(ctx, w, id, cgroup)
		if err != nil {
			return err
		}
		return s.wires.Plug(ctx, l, box.FD())
	})
}

// The sockets of a container that connections start have them until somebody says
// that it listens, and again once it is about to end.
func TestLead(t *testing.T) {
	needNft(t)
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	s.startActivated(n, "web", "8080:80", "8081:80")
	id, led, other := idOf("web"), ports(t, "8080:80")[0], ports(t, "8081:80")[0]
	s.host.Echo("tcp", ":8080") // the socket, and who accepts from it
	s.host.Echo("tcp", ":8081")
	const socket, box = "host " + peer4, "web " + peer4
	step := func(what string, do func(context.Context) error, want8080, want8081 string) {
		t.Helper()
		if do != nil {
			s.onHost(do)
		}
		s.asks(what, host4+":8080", want8080)
		s.asks(what, host4+":8081", want8081)
		if found := s.inspect(); found != "" {
			t.Errorf("%s: %s", what, found)
		}
	}
	lead := func(p netd.Port) func(context.Context) error {
		return func(ctx context.Context) error { return s.wires.Lead(ctx, id, p) }
	}
	step("started", nil, socket, socket)
	step("one is led", lead(led), box, socket)
	step("again", lead(led), box, socket)
	step("flushed, and the other is led", func(ctx context.Context) error {
		s.host.Run("nft", "flush", "ruleset")
		return s.wires.Lead(ctx, id, other)
	}, box, box)
	step("about to end", func(ctx context.Context) error { return s.wires.Close(ctx, id) }, socket, socket)
	step("not led any more", lead(led), socket, socket)
	step("it goes on", func(ctx context.Context) error { return s.wires.Open(ctx, id) }, socket, socket)
	step("led again", lead(led), box, socket)
	step("renamed", func(ctx context.Context) error { return s.wires.Rename(ctx, id, []string{"shop"}) }, box, socket)
	if l, err := s.wires.Lives().Load(id); err != nil || strings.Join(l.Names, " ") != "shop" || len(l.Led) != 1 {
		t.Errorf("record %+v, %v", l, err)
	}
	step("ended", func(ctx context.Context) error { return s.wires.Release(ctx, id, wire.KeepNothing) }, socket, socket)
	step("of what is gone, nothing is led", lead(led), socket, socket)
	if _, err := s.wires.Lives().Load(id); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("the record is there: %v", err)
	}
}

// What was used last is seen also when the connection is over.
func TestLastFlow(t *testing.T) {
	needNft(t)
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	s.start(n, "web", "8080:80")
	s.start(n, "other", "8081:80")
	published := ports(t, "8080:80")
	last := func(name string) (at time.Time) {
		l, err := s.wires.Lives().Load(idOf(name))
		if err != nil {
			t.Fatal(err)
		}
		addr4, addr6 := wire.Reachable(l)
		s.onHost(func(context.Context) (err error) {
			at, err = link.LastFlow([]netip.Addr{addr4, addr6}, published)
			return err
		})
		return at
	}
	if at := last("web"); !at.IsZero() {
		t.Errorf("used at %s before anybody came", at)
	}
	s.asks("once", host4+":8080", "web "+peer4)
	if at := last("web"); time.Since(at) > 30*time.Second {
		t.Errorf("used at %s, which is not now", at)
	}
	if at := last("other"); !at.IsZero() {
		t.Errorf("the other is used at %s", at)
	}
}

// Where bridges are filtered, [::1] is left to the sockets, and nothing else is.
func TestLoopback6(t *testing.T) {
	needNft(t)
	s := newSite(t)
	if _, err := s.host.Try("test", "-e", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"); err != nil {
		t.Skip("bridges cannot be filtered here")
	}
	s.host.SetSysctl("bridge/bridge-nf-call-ip6tables", "1")
	s.host.Addr("lan", "2001:db8::1/64")
	s.lan.Addr("host", "2001:db8::2/64")
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	box := nstest.New(t, "web")
	box.Echo("tcp", ":80")
	s.plug(box, n, idOf("web"), "8080:80", "[::1]:8081:80")
	s.host.Echo("tcp", "[::1]:8080")
	s.host.Echo("tcp", "[::1]:8081")
	for addr, want := range map[string]string{"[::1]:8080": "host ::1", "[::1]:8081": "host ::1"} {
		if got := s.host.Ask("tcp", addr); got != want {
			t.Errorf("%s answers %q, want %q", addr, got, want)
		}
	}
	if got := s.lan.Ask("tcp", "[2001:db8::1]:8080"); got != "web 2001:db8::2" {
		t.Errorf("from outside: %q", got)
	}
	if found := s.inspect(); found != "" {
		t.Error(found)
	}
	s.onHost(func(ctx context.Context) error { return s.wires.Release(ctx, idOf("web"), wire.KeepNothing) })
	if left := s.host.Run("nft", "list", "map", "inet", table, "ports6"); strings.Contains(left, "elements") {
		t.Errorf("left in the firewall: %s", left)
	}
}
