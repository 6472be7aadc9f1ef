package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
)

// ForgetFlows makes the kernel forget the UDP flows to the given published
// ports. Translation is decided on a flow's first packet, so without this a
// client that keeps sending would go on to where the port led before: to the
// container's former address or to nobody. It is called after the ports have
// been added to the firewall; if no UDP port is among them, it does nothing.
// TCP needs nothing of the kind: there, old connections end.
func ForgetFlows(ports []netd.Port) error {
	f := flowFilter{ports: map[uint16][]netd.Port{}}
	for _, p := range ports {
		if p.Proto == netd.UDP {
			f.ports[p.HostPort] = append(f.ports[p.HostPort], p)
		}
	}
	if len(f.ports) == 0 {
		return nil
	}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		f.own = append(f.own, a.IP)
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f); err != nil {
			return fmt.Errorf("forget UDP flows: %w", err)
		}
	}
	return nil
}

// flowFilter picks flows to one of the ports on an address of the host's own: not
// the answers that others wait for on the same port of a far server.
type flowFilter struct {
	ports map[uint16][]netd.Port
	own   []net.IP
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to := flow.Forward
	if to.Protocol != unix.IPPROTO_UDP || !f.isOwn(to.DstIP) {
		return false
	}
	for _, p := range f.ports[to.DstPort] {
		ip := p.HostIP
		if !ip.IsValid() || ip.IsUnspecified() && ip.Is4() == (to.DstIP.To4() != nil) || to.DstIP.Equal(ip.AsSlice()) {
			return true
		}
	}
	return false
}

func (f flowFilter) isOwn(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	for _, own := range f.own {
		if own.Equal(ip) {
			return true
		}
	}
	return false
}
