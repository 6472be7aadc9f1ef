package nft_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
)

// A neighbour on the LAN, or a container, sends to the host's MAC address with
// 127.0.0.1 as destination, to reach a port published there alone, or a server
// of the host's (moby's route_localnet class, CVE-2020-8558).
func TestLoopbackIsNotReachedFromAWire(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	web := s.box(n, "web", "127.0.0.1:8080:80", "127.0.0.1:8080:80/udp", "8081:80/udp")
	evil := s.box(n, "evil")
	inner, open := s.host.Echo("udp", "127.0.0.1:9999"), s.host.Echo("udp", "0.0.0.0:9998")

	// Whoever routes 127.0.0.0/8 to the host and binds to another address sends
	// just such packets.
	for _, from := range []struct {
		ns        *nstest.NS
		dev, addr string
		gw        string
	}{{s.lan, "host", lan4, host4}, {evil.NS, "eth0", evil.four, n.Subnet4().Gateway.String()}} {
		from.ns.SetSysctl("ipv4/conf/all/route_localnet", "1")
		from.ns.Run("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
		from.ns.Run("ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local")
		from.ns.Run("ip", "route", "add", "127.0.0.0/8", "via", from.gw, "dev", from.dev)
		if got, err := from.ns.AskFrom("udp", at(from.addr, "0"), at(from.gw, "9998")); got != "host "+from.addr {
			t.Fatalf("an ordinary packet does not get through either: %q, %v", got, err)
		}
		sent, before := counter(t, s.host), open()
		for _, target := range []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:9999", "127.0.0.1:9998"} {
			if got, err := from.ns.AskFromInVain("udp", at(from.addr, "0"), target); got != "" {
				t.Errorf("udp %s answers %q, %v", target, got, err)
			}
		}
		if got, err := from.ns.AskFromInVain("tcp", at(from.addr, "0"), "127.0.0.1:8080"); got != "" {
			t.Errorf("tcp answers %q, %v", got, err)
		}
		if now := counter(t, s.host); now == sent {
			t.Error("no packet with a loopback address arrived: the attack was not tried")
		}
		if inner() > 0 || open() > before || web.tcp() > 0 || web.udp() > 0 {
			t.Errorf("packets got through: %d and %d to the host, %d and %d to the container", inner(), open()-before, web.tcp(), web.udp())
		}
	}
}

// counter counts packets to 127.0.0.0/8 that come from a wire, in a table of its
// own that sees them before cleat's, and returns how many there were.
func counter(t *testing.T, host *nstest.NS) string {
	t.Helper()
	needNft(t)
	host.Run("nft", "add table ip watch; add counter ip watch seen; add chain ip watch pre { type filter hook prerouting priority -350; }; flush chain ip watch pre; add rule ip watch pre iifname != lo ip daddr 127.0.0.0/8 counter name seen")
	return host.Run("nft", "list", "counter", "ip", "watch", "seen")
}

// A container sends router advertisements: neither the host nor its neighbours
// take it for a router (CVE-2020-13401).
func TestRouterAdvertisementsAreIgnored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	evil, b := s.box(n, "evil"), s.box(n, "b")
	witness := nstest.New(t, "witness") // takes advertisements, which shows that they are good ones
	e := b.endpoint
	e.ContainerID = strings.Repeat("f", 64)
	e.Addr4, e.Addr6, e.Gateway6 = netip.MustParsePrefix("172.17.0.99/16"), netip.Prefix{}, netip.Addr{}
	do(t, s.host, func() error {
		br, err := link.EnsureBridge(n)
		if err != nil {
			return err
		}
		return link.Plug(br, witness.FD(), e)
	})
	witness.SetSysctl("ipv6/conf/eth0/accept_ra", "2")
	witness.SetSysctl("ipv6/conf/eth0/accept_dad", "0")
	witness.SetSysctl("ipv6/conf/eth0/disable_ipv6", "0")

	routes := func() string {
		all := s.host.Run("ip", "-6", "-o", "route") + b.Run("ip", "-6", "-o", "route") + b.Run("ip", "-6", "-o", "addr")
		lines := slices.DeleteFunc(strings.Split(all, "\n"), func(l string) bool {
			return strings.Contains(l, "fe80::/64") || strings.Contains(l, "scope link") // come by themselves, a little later
		})
		return strings.Join(lines, "\n")
	}
	before := routes()
	sees := func() bool { return strings.Contains(witness.Run("ip", "-6", "route"), "proto ra") }
	deadline := time.Now().Add(10 * time.Second)
	for !sees() && time.Now().Before(deadline) {
		advertise(t, evil.NS)
		<-time.After(20 * time.Millisecond)
	}
	if !sees() {
		t.Fatal("the witness has not taken the advertisement: the attack was not tried")
	}
	if after := routes(); before != after {
		t.Errorf("routes and addresses were\n%s, are now\n%s", before, after)
	}
}

// advertise sends a router advertisement with a prefix to all nodes (RFC 4861,
// section 4.2).
func advertise(t *testing.T, ns *nstest.NS) {
	t.Helper()
	var err error
	ns.Do(func() {
		var iface *net.Interface
		if iface, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return
		}
		msg := []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(msg[6:], 1800) // seconds for which the sender is a router
		msg = append(msg, 3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0)
		msg = append(msg, netip.MustParseAddr("2001:db8:bad::").AsSlice()...)
		to := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(iface.Index)}
		err = unix.Sendto(fd, msg, 0, to)
	})
	if err != nil {
		t.Fatal(err)
	}
}
