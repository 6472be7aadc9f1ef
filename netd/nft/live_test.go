package nft_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
)

// site is a host with a neighbour on its LAN and a client far away, behind a
// router that is the neighbour too:
//
//	client 198.51.100.9 --- lan 192.0.2.2 --- host 192.0.2.1 --- bridges
type site struct {
	t                 *testing.T
	host, lan, client *nstest.NS
	table             nft.Table
	networks          []netd.Network
	boxes             int
}

const (
	host4, host6     = "192.0.2.1", "2001:db8:1::1"
	lan4             = "192.0.2.2"
	client4, client6 = "198.51.100.9", "2001:db8:2::9"
)

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, table: nft.New(""), host: nstest.New(t, "host"), lan: nstest.New(t, "lan"), client: nstest.New(t, "client")}
	nstest.Link(s.host, s.lan)
	nstest.Link(s.lan, s.client)
	s.host.Addr("lan", host4+"/24", host6+"/64")
	s.lan.Addr("host", lan4+"/24", "2001:db8:1::2/64")
	s.lan.Addr("client", "198.51.100.1/24", "2001:db8:2::1/64")
	s.client.Addr("lan", client4+"/24", client6+"/64")
	for _, gw := range []string{lan4, "2001:db8:1::2"} {
		s.host.Route("default", gw)
	}
	for _, gw := range []string{"198.51.100.1", "2001:db8:2::1"} {
		s.client.Route("default", gw)
	}
	s.forwards("0") // a new namespace may have inherited something else
	s.lan.SetSysctl("ipv4/ip_forward", "1")
	s.lan.SetSysctl("ipv6/conf/all/forwarding", "1")
	return s
}

// network makes a network with its bridge and rules.
func (s *site) network(req netd.Request) *netd.Network {
	s.t.Helper()
	req.ID = strings.Repeat(string("abcdef"[len(s.networks)]), 64)
	n, err := netd.Plan(req, netd.Surroundings{Networks: s.networks})
	if err != nil {
		s.t.Fatal(err)
	}
	s.networks = append(s.networks, n)
	do(s.t, s.host, func() error {
		if _, err := link.EnsureBridge(&n); err != nil {
			return err
		}
		return s.table.Add(s.state(n))
	})
	return &n
}

// state is what the firewall is to have for networks, given who turned
// forwarding on.
func (s *site) state(networks ...netd.Network) (st nft.State) {
	s.t.Helper()
	var err error
	if st.Unrouted4, st.Unrouted6, err = link.Unrouted(); err != nil {
		s.t.Error(err)
	}
	for _, n := range networks {
		st.Networks = append(st.Networks, nft.NetworkOf(&n))
	}
	return st
}

// forwards makes the host forward packets of both families or not.
func (s *site) forwards(value string) {
	s.host.SetSysctl("ipv4/ip_forward", value)
	s.host.SetSysctl("ipv6/conf/all/forwarding", value)
}

// box is a container: a namespace that is plugged into a network.
type box struct {
	*nstest.NS
	four, six string
	endpoint  netd.Endpoint
	tcp, udp  func() int // how often it was asked
}

// box plugs a container in, with the tenth address and following, that answers
// on port 80 of every protocol; it publishes ports.
func (s *site) box(n *netd.Network, name string, ports ...string) box {
	s.t.Helper()
	s.boxes++
	b := box{NS: nstest.New(s.t, name)}
	b.endpoint = netd.Endpoint{NetworkID: n.ID, ContainerID: strings.Repeat(string("0123456789"[s.boxes]), 64), Isolated: n.Isolated}
	e := &b.endpoint
	for _, sub := range n.Subnets {
		a := sub.Gateway
		for range 10 + s.boxes {
			a = a.Next()
		}
		p, gw := netip.PrefixFrom(a, sub.Prefix.Bits()), sub.Gateway
		if n.Internal {
			gw = netip.Addr{}
		}
		if a.Is4() {
			e.Addr4, e.Gateway4, b.four = p, gw, a.String()
		} else {
			e.Addr6, e.Gateway6, b.six = p, gw, a.String()
		}
	}
	do(s.t, s.host, func() error {
		br, err := link.EnsureBridge(n)
		if err != nil {
			return err
		}
		if err := link.Plug(br, b.FD(), b.endpoint); err != nil {
			return err
		}
		return s.table.Add(b.mappings(s.t, ports...))
	})
	b.tcp, b.udp = b.Echo("tcp", ":80"), b.Echo("udp4", b.four+":80")
	if b.six != "" {
		b.Echo("udp6", "["+b.six+"]:80")
	}
	return b
}

func (b box) mappings(t *testing.T, ports ...string) nft.State {
	t.Helper()
	var s nft.State
	for _, p := range ports {
		s.Ports = append(s.Ports, mapping(t, p, b.four, b.six))
	}
	return s
}

// asks checks who answers: "" for nobody.
func asks(t *testing.T, from *nstest.NS, what, network, addr, want string) {
	t.Helper()
	ask := from.Ask
	if want == "" {
		ask = from.AskInVain
	}
	if got := ask(network, addr); got != want {
		t.Errorf("%s: %s %s answers %q, want %q", what, network, addr, got, want)
	}
}

func at(host, port string) string { return net.JoinHostPort(host, port) }

func TestPublishedPorts(t *testing.T) {
	t.Parallel()
	t.Run("plain bridge", func(t *testing.T) { testPublishedPorts(t, "0") })
	t.Run("br_netfilter", func(t *testing.T) { testPublishedPorts(t, "1") })
}

// brNetfilter switches translation on bridges, if the kernel has it loaded, and
// reports whether it is on.
func (s *site) brNetfilter(value string) bool {
	if out, err := s.host.Try("ls", "/proc/sys/net/bridge"); err != nil || out == "" {
		return false
	}
	for _, key := range []string{"iptables", "ip6tables"} {
		s.host.SetSysctl("bridge/bridge-nf-call-"+key, value)
	}
	return value == "1"
}

func testPublishedPorts(t *testing.T, brNetfilter string) {
	t.Parallel()
	s := newSite(t)
	filtered := s.brNetfilter(brNetfilter)
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	web := s.box(n, "web", "8080:80", "8080:80/udp", "127.0.0.1:8081:80", "[::1]:8081:80", host4+":8082:80")
	peer := s.box(n, "peer")
	other := s.box(s.network(netd.Request{Name: "other", IPv6: true}), "other")
	gw4, gw6 := n.Subnet4().Gateway.String(), n.Subnet6().Gateway.String()

	for _, tt := range []struct {
		name          string
		from          *nstest.NS
		network, addr string
		want          string
	}{
		{"outside keeps its address", s.client, "tcp", at(host4, "8080"), "web " + client4}, // CVE-2021-20199: nobody is 127.0.0.1
		{"outside, IPv6", s.client, "tcp", at(host6, "8080"), "web " + client6},
		{"outside, UDP", s.client, "udp", at(host4, "8080"), "web " + client4},
		{"outside, UDP, IPv6", s.client, "udp", at(host6, "8080"), "web " + client6},
		{"LAN", s.lan, "tcp", at(host4, "8080"), "web " + lan4},
		{"host by its address", s.host, "tcp", at(host4, "8080"), "web " + host4},
		{"host by its address, IPv6", s.host, "tcp", at(host6, "8080"), "web " + host6},
		{"host by 127.0.0.1", s.host, "tcp", at("127.0.0.1", "8080"), "web " + gw4},
		{"host by 127.0.0.1, UDP", s.host, "udp", at("127.0.0.1", "8080"), "web " + gw4},
		{"host by ::1", s.host, "tcp", at("::1", "8080"), "web " + gw6},
		{"host by ::1, UDP", s.host, "udp", at("::1", "8080"), "web " + gw6},
		{"host by the container's", s.host, "tcp", at(web.four, "80"), "web " + gw4},
		{"itself by the host's", web.NS, "tcp", at(host4, "8080"), "web " + gw4},
		{"itself by the host's, IPv6", web.NS, "tcp", at(host6, "8080"), "web " + gw6},
		{"itself by the gateway's", web.NS, "tcp", at(gw4, "8080"), "web " + gw4},
		{"neighbour by the host's", peer.NS, "tcp", at(host4, "8080"), "web " + gw4},
		{"neighbour by the host's, UDP", peer.NS, "udp", at(host4, "8080"), "web " + gw4},
		{"neighbour directly", peer.NS, "tcp", at(web.four, "80"), "web " + peer.four},
		{"other network by the host's", other.NS, "tcp", at(host4, "8080"), "web " + other.four},
		{"other network by the host's, IPv6", other.NS, "tcp", at(host6, "8080"), "web " + other.six},
		{"other network directly", other.NS, "tcp", at(web.four, "80"), ""},
		{"other network directly, IPv6", other.NS, "tcp", at(web.six, "80"), ""},
		{"host by 127.0.0.1 published there alone", s.host, "tcp", at("127.0.0.1", "8081"), "web " + gw4},
		{"host by ::1 published there alone", s.host, "tcp", at("::1", "8081"), "web " + gw6},
		{"host by another address than published", s.host, "tcp", at(host4, "8081"), ""},
		{"outside, published on 127.0.0.1", s.client, "tcp", at(host4, "8081"), ""},
		{"neighbour, published on 127.0.0.1", peer.NS, "tcp", at(host4, "8081"), ""},
		{"published on one address", s.client, "tcp", at(host4, "8082"), "web " + client4},
		{"published on one address, by another", s.host, "tcp", at("127.0.0.1", "8082"), ""},
		{"other protocol", s.client, "udp", at(host4, "8082"), ""},
		{"not published", s.client, "tcp", at(host4, "80"), ""},
	} {
		if filtered && tt.from == s.host && strings.HasPrefix(tt.addr, "[::1]") {
			continue // see the package's comment
		}
		asks(t, tt.from, tt.name, tt.network, tt.addr, tt.want)
	}

	do(t, s.host, func() error { return s.table.Remove(web.mappings(t, "8080:80")) })
	asks(t, s.client, "after removal", "tcp", at(host4, "8080"), "")
	asks(t, s.client, "after removal of another", "udp", at(host4, "8080"), "web "+client4)
}

func TestContainersReachOutButNotIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	web := s.box(s.network(netd.Request{Name: "bridge", IPv6: true}), "web")
	routed := s.box(s.network(netd.Request{Name: "routed", Options: map[string]string{"com.docker.network.bridge.enable_ip_masquerade": "false"}}), "routed")
	s.client.Echo("tcp", ":7")
	s.client.Echo("udp", client4+":7")
	for _, nw := range []string{"tcp", "udp"} {
		asks(t, web.NS, "out", nw, at(client4, "7"), "client "+host4)
	}
	asks(t, web.NS, "out, IPv6", "tcp", at(client6, "7"), "client "+host6)
	for _, neighbour := range []*nstest.NS{s.lan, s.client} { // who routes packets for the containers' subnet to the host
		if neighbour == s.lan {
			neighbour.Route("172.16.0.0/12", host4)
			neighbour.Route("fc00::/7", host6)
		}
		asks(t, neighbour, "in by a route", "tcp", at(web.four, "80"), "")
		asks(t, neighbour, "in by a route, IPv6", "tcp", at(web.six, "80"), "")
		asks(t, neighbour, "in by a route", "udp", at(web.four, "80"), "")
	}
	asks(t, routed.NS, "out with its own address", "tcp", at(client4, "7"), "client "+routed.four)
}

// An internal network has no way out and none in, whatever routes a container
// makes itself (CVE-2024-29018 is about names, which package dns looks after).
func TestInternalNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.network(netd.Request{Name: "inside", Internal: true, IPv6: true})
	a, b := s.box(n, "a", "8080:80", "8080:80/udp"), s.box(n, "b")
	web := s.box(s.network(netd.Request{Name: "bridge"}), "web", "9090:80")
	outTCP, outUDP := s.client.Echo("tcp", ":7"), s.client.Echo("udp", client4+":7")
	s.lan.Route("172.16.0.0/12", host4)

	asks(t, a.NS, "neighbour", "tcp", at(b.four, "80"), "b "+a.four)
	asks(t, a.NS, "neighbour, IPv6", "tcp", at(b.six, "80"), "b "+a.six)
	for _, gw := range []string{n.Subnet4().Gateway.String(), n.Subnet6().Gateway.String()} {
		a.Route("default", gw)
	}
	asks(t, a.NS, "out", "tcp", at(client4, "7"), "")
	asks(t, a.NS, "out, IPv6", "tcp", at(client6, "7"), "")
	asks(t, a.NS, "out", "udp", at(client4, "7"), "")
	asks(t, a.NS, "other network", "tcp", at(web.four, "80"), "")
	asks(t, a.NS, "published port of another network", "tcp", at(host4, "9090"), "")
	asks(t, web.NS, "in from another network", "tcp", at(a.four, "80"), "")
	asks(t, s.lan, "in by a route", "tcp", at(a.four, "80"), "")
	asks(t, s.client, "in by a published port", "tcp", at(host4, "8080"), "")
	asks(t, s.client, "in by a published port", "udp", at(host4, "8080"), "")
	if outTCP() > 0 || outUDP() > 0 || a.udp() > 0 {
		t.Errorf("packets passed: %d and %d out, %d in", outTCP(), outUDP(), a.udp())
	}
}

func TestIsolatedContainers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.brNetfilter("0")
	n := s.network(netd.Request{Name: "quiet", IPv6: true, Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}})
	a, b := s.box(n, "a", "8080:80"), s.box(n, "b")
	s.client.Echo("tcp", ":7")
	asks(t, b.NS, "neighbour", "tcp", at(a.four, "80"), "")
	asks(t, b.NS, "neighbour, IPv6", "tcp", at(a.six, "80"), "")
	asks(t, b.NS, "out", "tcp", at(client4, "7"), "client "+host4)
	asks(t, b.NS, "neighbour's published port", "tcp", at(host4, "8080"), "a "+n.Subnet4().Gateway.String())
	asks(t, s.client, "in by a published port", "tcp", at(host4, "8080"), "a "+client4)
	if s.brNetfilter("1") {
		asks(t, b.NS, "neighbour, filtered on the bridge", "tcp", at(a.four, "80"), "")
	}
}

func TestTheUsersChainDecidesFirst(t *testing.T) {
	t.Parallel()
	needNft(t)
	s := newSite(t)
	web := s.box(s.network(netd.Request{Name: "bridge"}), "web", "8080:80", "8081:80")
	s.host.Run("nft", "add", "rule", "inet", "cleat", "user", "ct", "direction", "original", "meta", "l4proto", "tcp", "ct", "original", "proto-dst", "8080", "ip", "saddr", "!=", "192.0.2.0/24", "drop")
	asks(t, s.client, "filtered", "tcp", at(host4, "8080"), "")
	asks(t, s.lan, "let through", "tcp", at(host4, "8080"), "web "+lan4)
	asks(t, s.client, "other port", "tcp", at(host4, "8081"), "web "+client4)
	_ = web
}

// Whatever takes the rules away, Set brings back everything.
func TestRestoredAfterFlush(t *testing.T) {
	t.Parallel()
	needNft(t)
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	web := s.box(n, "web", "127.0.0.1:8080:80", "8081:80")
	s.host.Run("nft", "flush", "ruleset")
	asks(t, s.client, "flushed", "tcp", at(host4, "8080"), "") // CVE-2025-54388: not even now
	do(t, s.host, func() error {
		all := web.mappings(t, "127.0.0.1:8080:80", "8081:80")
		all.Networks = []nft.Network{nft.NetworkOf(n)}
		return s.table.Set(all)
	})
	asks(t, s.client, "restored", "tcp", at(host4, "8080"), "")
	asks(t, s.client, "restored", "tcp", at(host4, "8081"), "web "+client4)
	asks(t, s.host, "restored", "tcp", at("127.0.0.1", "8080"), "web "+n.Subnet4().Gateway.String())
}

// A client that never pauses follows its server from one container to the next,
// and is not kept by the time when there was none.
func TestUDPClientsFollow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	first, second := s.box(n, "first"), s.box(n, "second")
	ask := func(host string, how func(*nstest.NS, string, string, string) (string, error)) string {
		from := client4
		if strings.Contains(host, ":") {
			from = client6
		}
		got, _ := how(s.client, "udp", at(from, "5000"), at(host, "8080"))
		return got
	}
	for _, host := range []string{host4, host6} {
		if got := ask(host, (*nstest.NS).AskFromInVain); got != "" {
			t.Errorf("nobody is there, but %q answers", got)
		}
	}
	for _, b := range []box{first, second} {
		ports := b.mappings(t, "8080:80/udp")
		do(t, s.host, func() error {
			if err := s.table.Add(ports); err != nil {
				return err
			}
			return link.ForgetFlows([]netd.Port{ports.Ports[0].Port})
		})
		for host, client := range map[string]string{host4: client4, host6: client6} {
			want := "first " + client
			if b.NS == second.NS {
				want = "second " + client
			}
			if got := ask(host, (*nstest.NS).AskFrom); got != want {
				t.Errorf("%s answers %q, want %q", host, got, want)
			}
		}
		do(t, s.host, func() error { return s.table.Remove(ports) })
	}
}

// Flows that only have the port in common are left alone.
func TestOtherFlowsAreKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	web := s.box(s.network(netd.Request{Name: "bridge"}), "web")
	s.client.Echo("udp", client4+":53")
	asks(t, web.NS, "out", "udp", at(client4, "53"), "client "+host4)
	port := mapping(t, "53:53/udp", web.four, "")
	do(t, s.host, func() error {
		if err := link.ForgetFlows([]netd.Port{port.Port}); err != nil {
			return err
		}
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		kept := slices.ContainsFunc(flows, func(f *netlink.ConntrackFlow) bool {
			return f.Forward.DstIP.String() == client4 && f.Forward.DstPort == 53
		})
		return errors.Join(err, truth(kept, "the flow to port 53 elsewhere is gone"))
	})
}

// When a container's namespace ends, nothing of it is left on the host.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge", IPv6: true})
	t.Run("container", func(t *testing.T) {
		inner := *s
		inner.t = t
		b := inner.box(n, "web", "8080:80")
		do(t, s.host, func() error { return s.table.Remove(b.mappings(t, "8080:80")) })
	})
	deadline := time.Now().Add(10 * time.Second)
	gone := func() bool {
		return !slices.ContainsFunc(s.host.Links(), func(l string) bool { return strings.HasPrefix(l, "cv") })
	}
	for !gone() && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond) // the kernel ends namespaces in its own time
	}
	if !gone() {
		t.Errorf("links are left: %v", s.host.Links())
	}
	if text := list(t, s.host); strings.Contains(text, "8080") {
		t.Errorf("ports are left:\n%s", text)
	}
	do(t, s.host, func() error { return link.RemoveBridge(n.Device) })
}
