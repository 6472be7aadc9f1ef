package link_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
)

// macvlan is a host with a neighbour on its LAN, and a network on that LAN.
type macvlan struct {
	t         *testing.T
	host, lan *nstest.NS
	network   *netd.Network
}

func newMacvlan(t *testing.T, req netd.Request) *macvlan {
	t.Helper()
	m := &macvlan{t: t, host: noRouter(t), lan: nstest.New(t, "lan")}
	nstest.Link(m.host, m.lan)
	if req.Subnets == nil {
		req.Subnets = []netd.Subnet{{Prefix: netip.MustParsePrefix("10.7.0.0/24")}}
	}
	for _, s := range req.Subnets {
		if req.Options["parent"] == "lan" {
			m.lan.Addr("host", s.Prefix.Addr().Next().String()+"/"+strings.Split(s.Prefix.String(), "/")[1])
		}
	}
	req.Name, req.Driver = "direct", netd.DriverMacvlan
	m.network = network(t, req)
	return m
}

// attach plugs in a container that answers on port 80, with the i-th address
// after the gateway's.
func (m *macvlan) attach(name string, i int) *nstest.NS {
	m.t.Helper()
	box := nstest.New(m.t, name)
	e := endpoint(m.network, strings.Repeat(string(rune('0'+i)), 64), i)
	e.MTU = m.network.MTU
	if m.network.Internal {
		e.Gateway4, e.Gateway6 = netip.Addr{}, netip.Addr{}
	}
	m.host.Do(func() {
		if err := link.Attach(m.network, box.FD(), e); err != nil {
			m.t.Error(err)
		}
	})
	m.host.Do(func() {
		if !link.Plugged(box.FD(), direct(e)) {
			m.t.Error("not plugged in")
		}
	})
	box.Echo("tcp", ":80")
	return box
}

// direct marks an endpoint the way a lease does.
func direct(e netd.Endpoint) netd.Endpoint {
	e.Direct = true
	return e
}

func TestMacvlanDetach(t *testing.T) {
	m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan"}})
	a := m.attach("a", 1)
	e := direct(endpoint(m.network, strings.Repeat("1", 64), 1))
	m.host.Do(func() {
		for range 2 {
			if err := link.Detach(a.FD(), e); err != nil {
				t.Error(err)
			}
		}
		if link.Plugged(a.FD(), e) || slices.Contains(a.Links(), "eth0") {
			t.Error("still plugged in")
		}
	})
}

func (m *macvlan) asks(what string, from *nstest.NS, addr, want string) {
	m.t.Helper()
	ask := from.Ask
	if want == "" {
		ask = from.AskInVain
	}
	if got := ask("tcp", addr); got != want {
		m.t.Errorf("%s: %s answers %q, want %q", what, addr, got, want)
	}
}

func TestMacvlan(t *testing.T) {
	for mode, neighbours := range map[string]bool{"bridge": true, "private": false, "vepa": false} {
		t.Run(mode, func(t *testing.T) {
			m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan", "macvlan_mode": mode}})
			before := m.host.Links()
			a := m.attach("a", 1)
			m.attach("b", 2)
			m.lan.Echo("tcp", ":7")
			m.asks("out to the LAN", a, "10.7.0.1:7", "lan 10.7.0.2")
			m.asks("in from the LAN", m.lan, "10.7.0.2:80", "a 10.7.0.1")
			want := ""
			if neighbours {
				want = "b 10.7.0.2"
			}
			m.asks("neighbour", a, "10.7.0.3:80", want)
			if r := a.Run("ip", "route"); !strings.Contains(r, "default via 10.7.0.1 dev eth0") {
				t.Error(r)
			}
			if text := a.Run("ip", "-6", "addr", "show", "dev", "eth0"); text != "" {
				t.Errorf("IPv6 on a network without (CVE-2024-32473):\n%s", text)
			}
			if text := a.Run("ip", "-d", "link", "show", "eth0"); !strings.Contains(text, "macvlan mode "+mode) || !strings.Contains(text, "02:42:0a:07:00:02") {
				t.Error(text)
			}
			if v := m.host.Sysctl("ipv4/ip_forward"); v != "0" {
				t.Errorf("the host forwards packets: %s", v)
			}
			if after := m.host.Links(); !slices.Equal(before, after) {
				t.Errorf("links of the host were %v, are %v", before, after)
			}
		})
	}
}

func TestMacvlanPassthru(t *testing.T) {
	m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan", "macvlan_mode": "passthru"}})
	m.attach("a", 1)
	m.asks("in from the LAN", m.lan, "10.7.0.2:80", "a 10.7.0.1")
	m.host.Do(func() {
		err := link.Attach(m.network, nstest.New(t, "b").FD(), endpoint(m.network, strings.Repeat("2", 64), 2))
		if err == nil || !strings.Contains(err.Error(), "lan cannot have a macvlan of mode passthru now") {
			t.Errorf("a second container: %v", err)
		}
	})
}

func TestMacvlanWithIPv6(t *testing.T) {
	m := newMacvlan(t, netd.Request{IPv6: true, Options: map[string]string{"parent": "lan", "com.docker.network.driver.mtu": "1400"}, Subnets: []netd.Subnet{
		{Prefix: netip.MustParsePrefix("10.7.0.0/24")}, {Prefix: netip.MustParsePrefix("fd07::/64")},
	}})
	a := m.attach("a", 1)
	m.asks("in from the LAN", m.lan, "[fd07::2]:80", "a fd07::1")
	if ra := a.Sysctl("ipv6/conf/eth0/accept_ra"); ra != "0" {
		t.Errorf("accept_ra is %s (CVE-2020-13401)", ra)
	}
	if text := a.Run("ip", "link", "show", "eth0"); !strings.Contains(text, "mtu 1400") {
		t.Error(text)
	}
}

func TestMacvlanInternal(t *testing.T) {
	m := newMacvlan(t, netd.Request{Internal: true, Options: map[string]string{"parent": "lan"}})
	if r := m.attach("a", 1).Run("ip", "route"); strings.Contains(r, "default") {
		t.Error(r)
	}
}

// A VLAN is made when it is needed and goes with the network; the
// administrator's stays.
func TestMacvlanOnVLAN(t *testing.T) {
	m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan.7"}})
	if out, err := m.lan.Try("ip", "link", "add", "link", "host", "name", "host.7", "type", "vlan", "id", "7"); err != nil {
		m.host.Do(func() {
			err := link.Attach(m.network, m.lan.FD(), endpoint(m.network, netID, 1))
			if !errors.Is(err, spec.ErrUnsupport) || !strings.Contains(err.Error(), "make VLAN lan.7: the kernel has no VLANs (module 8021q)") {
				t.Errorf("without VLANs in the kernel: %v", err)
			}
		})
		t.Skipf("the kernel has no VLANs: %s", out)
	}
	m.lan.Run("ip", "link", "set", "host.7", "up")
	m.lan.Addr("host.7", "10.7.0.1/24")
	m.attach("a", 1)
	m.attach("b", 2)
	m.asks("in by the VLAN", m.lan, "10.7.0.2:80", "a 10.7.0.1")
	m.asks("in by the VLAN", m.lan, "10.7.0.3:80", "b 10.7.0.1")
	drop := func() {
		t.Helper()
		m.host.Do(func() {
			if err := link.Drop(m.network); err != nil {
				t.Error(err)
			}
		})
	}
	drop()
	if slices.Contains(m.host.Links(), "lan.7") {
		t.Error("the VLAN is left")
	}
	drop() // again is no error
	m.host.Run("ip", "link", "add", "link", "lan", "name", "lan.7", "type", "vlan", "id", "7")
	m.attach("c", 3)
	m.asks("in by the administrator's VLAN, which was down", m.lan, "10.7.0.4:80", "c 10.7.0.1")
	drop()
	if !slices.Contains(m.host.Links(), "lan.7") {
		t.Error("the administrator's VLAN is gone")
	}
}

func TestMacvlanRestore(t *testing.T) {
	m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan"}})
	m.attach("a", 1)
	if found := inspect(t, m.host, m.network, nil); len(found) > 0 {
		t.Error(found)
	}
	m.host.Run("ip", "link", "set", "lan", "down")
	if found := inspect(t, m.host, m.network, nil); !slices.Equal(found, []string{"parent device lan is down"}) {
		t.Error(found)
	}
	m.host.Do(func() {
		if err := link.Restore(m.network, nil); err != nil {
			t.Error(err)
		}
	})
	m.asks("restored", m.lan, "10.7.0.2:80", "a 10.7.0.1")
}

func TestMacvlanLeavesNothingOnFailure(t *testing.T) {
	m := newMacvlan(t, netd.Request{Options: map[string]string{"parent": "lan"}})
	box := nstest.New(t, "box")
	box.Run("ip", "link", "add", "eth1", "type", "bridge")
	bad := endpoint(m.network, netID, 1)
	bad.Gateway4 = netip.MustParseAddr("10.99.0.1")
	taken := endpoint(m.network, netID, 1)
	taken.Index = 1
	gone := *m.network
	gone.Parent = "nothing"
	goneVLAN := *m.network
	goneVLAN.Parent = "nothing.5"
	m.host.Do(func() {
		for name, err := range map[string]error{
			"gateway not reachable": link.Attach(m.network, box.FD(), bad),
			"interface is there":    link.Attach(m.network, box.FD(), taken),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		for _, n := range []*netd.Network{&gone, &goneVLAN} {
			err := link.Attach(n, box.FD(), endpoint(m.network, netID, 1))
			if !errors.Is(err, spec.ErrNotFound) || !strings.Contains(err.Error(), "the host has no device nothing") {
				t.Errorf("%s: %v", n.Parent, err)
			}
		}
	})
	if links := box.Links(); slices.Contains(links, "eth0") {
		t.Errorf("links in the container: %v", links)
	}
}
