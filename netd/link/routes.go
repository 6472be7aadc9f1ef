package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes returns the prefixes that the host has routes or addresses for, in all
// routing tables, so that new networks can avoid them. Left out are default
// routes, multicast, and the devices that own is true for, given their names:
// those of networks that the caller knows.
func Routes(own func(device string) bool) ([]netip.Prefix, error) {
	links, err := dumped(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	ours := map[int]bool{}
	for _, l := range links {
		ours[l.Attrs().Index] = own(l.Attrs().Name)
	}
	routes, err := dumped(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var found []netip.Prefix
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		if ok && p.Bits() > 0 && !p.Addr().IsMulticast() && !p.Addr().IsLinkLocalUnicast() && !ours[r.LinkIndex] {
			found = append(found, p)
		}
	}
	return found, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if v4 := n.IP.To4(); v4 != nil {
		a, ok = netip.AddrFromSlice(v4)
	}
	return netip.PrefixFrom(a, bits), ok
}
