package link_test

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
)

const netID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func network(t testing.TB, req netd.Request) *netd.Network {
	t.Helper()
	if req.ID == "" {
		req.ID = netID
	}
	if req.Name == "" {
		req.Name = netd.DefaultName
	}
	n, err := netd.Plan(req, netd.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	return &n
}

// endpoint returns the endpoint of container id at the i-th address of n.
func endpoint(n *netd.Network, id string, i int) netd.Endpoint {
	e := netd.Endpoint{NetworkID: n.ID, ContainerID: id}
	nth := func(s *netd.Subnet) (netip.Prefix, netip.Addr) {
		a := s.Gateway
		for range i {
			a = a.Next()
		}
		return netip.PrefixFrom(a, s.Prefix.Bits()), s.Gateway
	}
	e.Addr4, e.Gateway4 = nth(n.Subnet4())
	if s := n.Subnet6(); s != nil {
		e.Addr6, e.Gateway6 = nth(s)
	}
	return e
}

func ensure(t testing.TB, host *nstest.NS, n *netd.Network) (br link.Bridge) {
	t.Helper()
	host.Do(func() {
		var err error
		if br, err = link.EnsureBridge(n); err != nil {
			t.Error(err)
		}
	})
	return br
}

func plug(t testing.TB, host, ns *nstest.NS, br link.Bridge, e netd.Endpoint) {
	t.Helper()
	host.Do(func() {
		if err := link.Plug(br, ns.FD(), e); err != nil {
			t.Fatal(err)
		}
	})
}

// noRouter makes a host that forwards nothing; a new namespace may have
// inherited forwarding from the machine.
func noRouter(t testing.TB) *nstest.NS {
	t.Helper()
	host := nstest.New(t, "host")
	host.SetSysctl("ipv4/ip_forward", "0")
	host.SetSysctl("ipv6/conf/all/forwarding", "0")
	return host
}

func TestEnsureBridge(t *testing.T) {
	host := noRouter(t)
	n := network(t, netd.Request{IPv6: true})
	br := ensure(t, host, n)
	if br.Index == 0 || br.MTU != 1500 {
		t.Errorf("%+v", br)
	}
	if again := ensure(t, host, n); again != br {
		t.Errorf("%+v, then %+v", br, again)
	}
	text := host.Run("ip", "addr", "show", "cleat0")
	for _, want := range []string{"inet 172.17.0.1/16", n.Subnet6().Bridge().String(), "UP"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if details := host.Run("ip", "-d", "link", "show", "cleat0"); !strings.Contains(details, "vlan_filtering 0") {
		t.Error(details)
	}
	for key, want := range map[string]string{
		"ipv4/ip_forward": "2", "ipv6/conf/all/forwarding": "2", "ipv4/conf/cleat0/route_localnet": "1",
		"ipv6/conf/cleat0/accept_ra": "0", "ipv4/conf/lo/route_localnet": "0",
	} {
		if got := host.Sysctl(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

func TestBridgeOfInternalIPv4Network(t *testing.T) {
	host := noRouter(t)
	ensure(t, host, network(t, netd.Request{Name: "n", Internal: true}))
	const dev = "cl-0123456789ab"
	for key, want := range map[string]string{
		"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0",
		"ipv4/conf/" + dev + "/route_localnet": "0", "ipv6/conf/" + dev + "/disable_ipv6": "1",
	} {
		if got := host.Sysctl(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if text := host.Run("ip", "-6", "addr", "show", "dev", dev); text != "" {
		t.Errorf("IPv6 on a network without (CVE-2024-32473):\n%s", text)
	}
}

func TestBridgeHasTheUplinksMTU(t *testing.T) {
	host, lan := nstest.New(t, "host"), nstest.New(t, "lan")
	nstest.Link(host, lan)
	host.Addr("lan", "10.0.0.1/24")
	host.Run("ip", "link", "set", "lan", "mtu", "1380")
	host.Route("default", "10.0.0.2")
	if br := ensure(t, host, network(t, netd.Request{})); br.MTU != 1380 {
		t.Errorf("MTU %d", br.MTU)
	}
	n := network(t, netd.Request{Name: "n", Options: map[string]string{"com.docker.network.driver.mtu": "1400"}})
	if br := ensure(t, host, n); br.MTU != 1400 {
		t.Errorf("MTU %d of a network that asks for 1400", br.MTU)
	}
}

// Turning the host into a router must not cost it its own IPv6 routes.
func TestForwardingKeepsRouterAdvertisements(t *testing.T) {
	host, lan := noRouter(t), nstest.New(t, "lan")
	nstest.Link(host, lan)
	host.SetSysctl("ipv6/conf/lan/accept_ra", "1")
	ensure(t, host, network(t, netd.Request{IPv6: true}))
	if got := host.Sysctl("ipv6/conf/lan/accept_ra"); got != "2" {
		t.Errorf("accept_ra of the uplink is %s", got)
	}
}

func TestManyMakeOneBridge(t *testing.T) {
	host := nstest.New(t, "host")
	n := network(t, netd.Request{IPv6: true})
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[link.Bridge]int{}
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
			if err := unix.Setns(host.FD(), unix.CLONE_NEWNET); err != nil {
				t.Error(err)
				return
			}
			br, err := link.EnsureBridge(n)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[br]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Errorf("different bridges: %v", got)
	}
	if text := host.Run("ip", "-o", "addr", "show", "cleat0"); strings.Count(text, "172.17.0.1/16") != 1 {
		t.Error(text)
	}
}

func TestUnfinishedBridgeIsCompleted(t *testing.T) {
	host := nstest.New(t, "host")
	n := network(t, netd.Request{})
	br := ensure(t, host, n)
	host.Run("ip", "addr", "flush", "dev", "cleat0")
	host.Run("ip", "link", "set", "cleat0", "down", "alias", "")
	if again := ensure(t, host, n); again != br {
		t.Errorf("%+v, then %+v", br, again)
	}
	if text := host.Run("ip", "addr", "show", "cleat0"); !strings.Contains(text, "172.17.0.1/16") || !strings.Contains(text, "UP") {
		t.Error(text)
	}
}

func TestBridgeFollowsItsNetwork(t *testing.T) {
	host, box := nstest.New(t, "host"), nstest.New(t, "box")
	old := network(t, netd.Request{})
	br := ensure(t, host, old)
	other := network(t, netd.Request{ID: "f" + netID[1:], Subnets: []netd.Subnet{{Prefix: netip.MustParsePrefix("10.7.0.0/16")}}})
	ensure(t, host, other)
	if text := host.Run("ip", "addr", "show", "cleat0"); strings.Contains(text, "172.17.0.1") || !strings.Contains(text, "10.7.0.1/16") {
		t.Error(text)
	}
	plug(t, host, box, br, endpoint(other, netID, 1))
	host.Do(func() {
		if _, err := link.EnsureBridge(old); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("bridge of a network with containers is taken over: %v", err)
		}
	})
}

func TestForeignDevicesAreLeftAlone(t *testing.T) {
	host := nstest.New(t, "host")
	host.Run("ip", "link", "add", "cleat0", "type", "bridge")
	before := host.Run("ip", "addr", "show", "cleat0")
	host.Do(func() {
		if _, err := link.EnsureBridge(network(t, netd.Request{})); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("foreign bridge is taken: %v", err)
		}
		if err := link.RemoveBridge("cleat0"); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("foreign bridge is removed: %v", err)
		}
		if gone, err := link.CleanUp("", func(string) bool { return false }); len(gone) > 0 || err != nil {
			t.Errorf("cleaned up %v, %v", gone, err)
		}
	})
	if after := host.Run("ip", "addr", "show", "cleat0"); after != before {
		t.Errorf("changed to %s", after)
	}
}

func TestPlug(t *testing.T) {
	host, box := nstest.New(t, "host"), nstest.New(t, "box")
	n := network(t, netd.Request{IPv6: true})
	br := ensure(t, host, n)
	e := endpoint(n, netID, 1)
	plug(t, host, box, br, e)

	addrs := box.Run("ip", "addr")
	for _, want := range []string{"127.0.0.1/8", "eth0@", "02:42:ac:11:00:02", "172.17.0.2/16", e.Addr6.String(), "mtu 1500"} {
		if !strings.Contains(addrs, want) {
			t.Errorf("no %q in:\n%s", want, addrs)
		}
	}
	if strings.Contains(box.Run("ip", "addr", "show", "scope", "global"), "tentative") {
		t.Errorf("an address is on probation:\n%s", addrs)
	}
	for _, family := range []string{"-4", "-6"} {
		gw := map[string]string{"-4": "172.17.0.1", "-6": n.Subnet6().Gateway.String()}[family]
		if r := box.Run("ip", family, "route"); !strings.Contains(r, "default via "+gw+" dev eth0") {
			t.Error(r)
		}
	}
	for key, want := range map[string]string{
		"ipv6/conf/eth0/accept_ra": "0", "ipv6/conf/eth0/disable_ipv6": "0",
		"ipv6/conf/default/disable_ipv6": box.Sysctl("ipv6/conf/all/disable_ipv6"),
	} {
		if got := box.Sysctl(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	port := host.Run("ip", "-d", "link", "show", e.HostInterface())
	for _, want := range []string{"master cleat0", "hairpin on", "isolated off", "addrgenmode none", "UP"} {
		if !strings.Contains(port, want) {
			t.Errorf("no %q in:\n%s", want, port)
		}
	}
	box.Echo("tcp", ":80")
	for addr, want := range map[string]string{"172.17.0.2:80": "box 172.17.0.1", "[" + e.Addr6.Addr().String() + "]:80": "box " + n.Subnet6().Gateway.String()} {
		if got := host.Ask("tcp", addr); got != want {
			t.Errorf("%s answers %q, want %q", addr, got, want)
		}
	}
}

func TestPlugIPv4Only(t *testing.T) {
	host, box := nstest.New(t, "host"), nstest.New(t, "box")
	n := network(t, netd.Request{})
	e := endpoint(n, netID, 1)
	e.Index, e.MAC, e.MTU, e.Isolated, e.Gateway4 = 3, "02:00:00:00:00:07", 1300, true, netip.Addr{}
	plug(t, host, box, ensure(t, host, n), e)
	if text := box.Run("ip", "-6", "addr", "show", "dev", "eth3"); text != "" {
		t.Errorf("IPv6 on a network without (CVE-2024-32473):\n%s", text)
	}
	if text := box.Run("ip", "link", "show", "eth3"); !strings.Contains(text, "02:00:00:00:00:07") || !strings.Contains(text, "mtu 1300") {
		t.Error(text)
	}
	if r := box.Run("ip", "route"); strings.Contains(r, "default") {
		t.Error(r)
	}
	if port := host.Run("ip", "-d", "link", "show", e.HostInterface()); !strings.Contains(port, "isolated on") {
		t.Error(port)
	}
}

func TestPlugReplacesWhatAnEarlierRunLeft(t *testing.T) {
	host, first, second := nstest.New(t, "host"), nstest.New(t, "first"), nstest.New(t, "second")
	n := network(t, netd.Request{})
	br := ensure(t, host, n)
	plug(t, host, first, br, endpoint(n, netID, 1))
	plug(t, host, second, br, endpoint(n, netID, 1))
	if slices.Contains(first.Links(), "eth0") || !slices.Contains(second.Links(), "eth0") {
		t.Errorf("links %v and %v", first.Links(), second.Links())
	}
}

func TestPlugLeavesNothingOnFailure(t *testing.T) {
	host, box := nstest.New(t, "host"), nstest.New(t, "box")
	n := network(t, netd.Request{})
	br := ensure(t, host, n)
	box.Run("ip", "link", "add", "eth0", "type", "bridge")
	before := host.Links()
	bad := endpoint(n, netID, 1)
	bad.Gateway4 = netip.MustParseAddr("10.99.0.1")
	notNS, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer notNS.Close()
	for name, f := range map[string]func() error{
		"interface is there":     func() error { return link.Plug(br, box.FD(), endpoint(n, netID, 1)) },
		"not a namespace":        func() error { return link.Plug(br, int(notNS.Fd()), endpoint(n, netID, 1)) },
		"no such bridge":         func() error { return link.Plug(link.Bridge{Index: 9999, MTU: 1500}, box.FD(), endpoint(n, netID, 1)) },
		"gateway not reachable":  func() error { bad.Index = 1; return link.Plug(br, box.FD(), bad) },
		"endpoint without an id": func() error { return link.Plug(br, box.FD(), netd.Endpoint{Addr4: bad.Addr4}) },
	} {
		host.Do(func() {
			if err := f(); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
		if after := host.Links(); !slices.Equal(before, after) {
			t.Errorf("%s: links %v became %v", name, before, after)
		}
	}
}

func TestUnplugAndRemove(t *testing.T) {
	host, box := nstest.New(t, "host"), nstest.New(t, "box")
	n := network(t, netd.Request{})
	e := endpoint(n, netID, 1)
	plug(t, host, box, ensure(t, host, n), e)
	host.Do(func() {
		if err := link.RemoveBridge(n.Device); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("remove a bridge in use: %v", err)
		}
		if gone, err := link.CleanUp("", func(string) bool { return false }); len(gone) > 0 || err != nil {
			t.Errorf("cleaned up %v, %v", gone, err)
		}
		for range 2 {
			if err := link.Unplug(e); err != nil {
				t.Error(err)
			}
		}
		if gone, err := link.CleanUp("", func(d string) bool { return d == n.Device }); len(gone) > 0 || err != nil {
			t.Errorf("cleaned up %v, %v", gone, err)
		}
		if gone, err := link.CleanUp("", func(string) bool { return false }); !slices.Equal(gone, []string{n.Device}) || err != nil {
			t.Errorf("cleaned up %v, %v", gone, err)
		}
		if err := link.RemoveBridge(n.Device); err != nil {
			t.Errorf("remove a bridge that is gone: %v", err)
		}
	})
	if slices.Contains(box.Links(), "eth0") {
		t.Error("the container is still connected")
	}
}

func TestRoutes(t *testing.T) {
	host, lan := nstest.New(t, "host"), nstest.New(t, "lan")
	nstest.Link(host, lan)
	host.Addr("lan", "10.0.0.1/24", "fd01::1/64")
	host.Route("default", "10.0.0.2")
	host.Run("ip", "route", "add", "10.50.0.0/16", "via", "10.0.0.2", "table", "77")
	ensure(t, host, network(t, netd.Request{}))
	host.Do(func() {
		routes, err := link.Routes(func(device string) bool { return device == netd.DefaultDevice })
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"10.0.0.0/24", "10.50.0.0/16", "fd01::/64"} {
			if !slices.Contains(routes, netip.MustParsePrefix(want)) {
				t.Errorf("no %s in %v", want, routes)
			}
		}
		for _, r := range routes {
			if r.Bits() == 0 || r.Overlaps(netip.MustParsePrefix("172.17.0.0/16")) {
				t.Errorf("%s is in %v", r, routes)
			}
		}
	})
}

// onHost runs f on a thread of its own in the host's namespace, so that several
// can run at a time.
func onHost(t testing.TB, host *nstest.NS, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Setns(host.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestManyArePluggedInAtATime(t *testing.T) {
	const many = 24
	host := nstest.New(t, "host")
	n := network(t, netd.Request{IPv6: true})
	leases := netd.NewLeases(t.TempDir())
	boxes := make([]*nstest.NS, many)
	for i := range boxes {
		boxes[i] = nstest.New(t, "box")
	}
	ends := make([]netd.Endpoint, many)
	var wg sync.WaitGroup
	for i, box := range boxes {
		wg.Go(func() {
			onHost(t, host, func() (err error) {
				owner := netd.Owner{ContainerID: strings.Repeat(string(rune('A'+i)), 64)}
				if ends[i], err = leases.Connect(t.Context(), n, owner, netd.Attachment{DefaultRoute: true}); err != nil {
					return err
				}
				br, err := link.EnsureBridge(n)
				if err != nil {
					return err
				}
				return link.Plug(br, box.FD(), ends[i])
			})
		})
	}
	wg.Wait()
	for i, box := range boxes {
		box.Echo("tcp", ":80")
		addr := ends[i].Addr4.Addr().String()
		if got := boxes[(i+1)%many].Ask("tcp", addr+":80"); got != "box "+ends[(i+1)%many].Addr4.Addr().String() {
			t.Errorf("%s answers %q", addr, got)
		}
	}
	if n := len(host.Links()); n != many+2 { // and lo, and the bridge
		t.Errorf("%d links on the host: %v", n, host.Links())
	}
}

func BenchmarkEnsureBridge(b *testing.B) {
	host := nstest.New(b, "host")
	n := network(b, netd.Request{IPv6: true})
	ensure(b, host, n)
	host.Do(func() {
		for b.Loop() {
			if _, err := link.EnsureBridge(n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPlug(b *testing.B) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv4 and IPv6": true} {
		b.Run(name, func(b *testing.B) {
			host, box := nstest.New(b, "host"), nstest.New(b, "box")
			n := network(b, netd.Request{IPv6: v6})
			e := endpoint(n, netID, 1)
			br := ensure(b, host, n)
			host.Do(func() {
				for b.Loop() {
					if err := link.Plug(br, box.FD(), e); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := link.Unplug(e); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		})
	}
}
