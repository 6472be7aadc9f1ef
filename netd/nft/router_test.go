package nft_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
)

const (
	far4, far6 = "203.0.113.9", "2001:db8:3::9"
)

// crossroads is a site whose host has a second uplink, to the namespace that is
// returned. Everybody would have the host pass packets on.
func crossroads(t *testing.T) (*site, *nstest.NS) {
	t.Helper()
	s, far := newSite(t), nstest.New(t, "far")
	nstest.Link(s.host, far)
	s.host.Addr("far", "203.0.113.1/24", "2001:db8:3::1/64")
	far.Addr("host", far4+"/24", far6+"/64")
	for _, gw := range []string{"203.0.113.1", "2001:db8:3::1"} {
		far.Route("default", gw)
	}
	s.lan.Route("203.0.113.0/24", host4)
	s.lan.Route("2001:db8:3::/64", host6)
	far.Echo("tcp", ":7")
	far.Echo("udp", far4+":7")
	return s, far
}

// passed checks whether the host is a router between its uplinks.
func (s *site) passed(when string, want bool) {
	s.t.Helper()
	for _, q := range []struct{ network, addr, from string }{
		{"tcp", at(far4, "7"), lan4}, {"udp", at(far4, "7"), lan4}, {"tcp", at(far6, "7"), "2001:db8:1::2"},
	} {
		answer := ""
		if want {
			answer = "far " + q.from
		}
		asks(s.t, s.lan, when, q.network, q.addr, answer)
	}
}

// Bridges need a kernel that forwards. That must not make a router of a host
// that was none.
func TestTheHostIsNoRouter(t *testing.T) {
	t.Parallel()
	s, far := crossroads(t)
	s.passed("before there is a network", false)
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	web := s.box(n, "web", "8080:80")
	s.client.Echo("tcp", ":7")
	s.passed("forwarding for cleat's sake", false)
	asks(t, web.NS, "out", "tcp", at(client4, "7"), "client "+host4)
	asks(t, web.NS, "out by the other way", "tcp", at(far4, "7"), "far 203.0.113.1")
	asks(t, far, "in by a published port", "tcp", at("203.0.113.1", "8080"), "web "+far4)
	asks(t, far, "in by a published port, IPv6", "tcp", at(host6, "8080"), "web "+far6)

	s.forwards("1") // the administrator's own will
	restore := func() error {
		st := s.state(*n)
		st.Ports = web.mappings(t, "8080:80").Ports
		return s.table.Set(st)
	}
	do(t, s.host, restore)
	s.passed("forwarding for everybody", true)
	s.host.SetSysctl("ipv4/ip_forward", "0")
	s.host.SetSysctl("ipv6/conf/all/forwarding", "0")
	do(t, s.host, func() error { return link.Restore(n, nil) })
	do(t, s.host, restore)
	s.passed("turned off, and on again for cleat's sake", false)
	asks(t, s.client, "in by a published port", "tcp", at(host4, "8080"), "web "+client4)
}

func TestARouterStaysOne(t *testing.T) {
	t.Parallel()
	s, _ := crossroads(t)
	s.forwards("1")
	s.box(s.network(netd.Request{Name: "bridge", IPv6: true}), "web", "8080:80")
	s.passed("forwarding since before", true)
	if v := s.host.Sysctl("ipv4/ip_forward"); v != "1" {
		t.Errorf("ip_forward is %s", v)
	}
}

// An internal network needs no forwarding, so nothing changes.
func TestInternalNetworksForwardNothing(t *testing.T) {
	t.Parallel()
	s, _ := crossroads(t)
	s.network(netd.Request{Name: "inside", IPv6: true, Internal: true})
	if four, six := s.host.Sysctl("ipv4/ip_forward"), s.host.Sysctl("ipv6/conf/all/forwarding"); four != "0" || six != "0" {
		t.Errorf("forwarding is %s and %s", four, six)
	}
}

// Networks of other state directories have a table of their own, and none stands
// in the way of the other.
func TestTwoTablesOnOneHost(t *testing.T) {
	t.Parallel()
	s, _ := crossroads(t)
	s.box(s.network(netd.Request{Name: "bridge", IPv6: true}), "web")
	s.table = nft.New("cleat-other")
	other := s.box(s.network(netd.Request{Name: "elsewhere", IPv6: true}), "other", "9090:80")
	s.client.Echo("tcp", ":7")
	asks(t, other.NS, "out", "tcp", at(client4, "7"), "client "+host4)
	asks(t, other.NS, "out, IPv6", "tcp", at(client6, "7"), "client "+host6)
	asks(t, s.client, "in by a published port", "tcp", at(host4, "9090"), "other "+client4)
	s.passed("both", false)
}

// Frames that somebody else's bridge passes on are not routed, although the
// kernel shows them to the firewall where br_netfilter is loaded.
func TestBridgesOfOthersGoOn(t *testing.T) {
	t.Parallel()
	s, _ := crossroads(t)
	if !s.brNetfilter("1") {
		t.Skip("the kernel has no br_netfilter")
	}
	s.box(s.network(netd.Request{Name: "bridge"}), "web")
	s.host.Run("ip", "link", "add", "br0", "type", "bridge")
	s.host.Run("ip", "link", "set", "br0", "up")
	guests := map[string]*nstest.NS{"guest1": nil, "guest2": nil}
	for name := range guests {
		ns := nstest.New(t, name)
		guests[name] = ns
		nstest.Link(s.host, ns)
		s.host.Run("ip", "link", "set", name, "master", "br0")
		ns.Addr("host", "10.5.0."+strings.TrimPrefix(name, "guest")+"/24")
	}
	guests["guest2"].Echo("tcp", ":7")
	asks(t, guests["guest1"], "on somebody's bridge", "tcp", "10.5.0.2:7", "guest2 10.5.0.1")
	if text := list(t, s.host); !strings.Contains(text, `"br0" . "br0"`) {
		t.Errorf("the frames were not shown to the firewall:\n%s", text)
	}
	s.passed("with a bridge", false)
	if links := s.host.Links(); !slices.Contains(links, "br0") {
		t.Error(links)
	}
}
