package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Bridge is a bridge that is there and ready for containers.
type Bridge struct {
	Index int32  // of the device on the host
	MTU   uint32 // in bytes
}

// aliasPrefix begins the alias of every bridge of ours, see ip-link(8). The rest
// says of which state directory and network it is, and is a sum of the settings:
// a bridge with the right alias is complete, because the alias is set last.
const aliasPrefix = "cleat"

// prefixOfPlace returns what the aliases of the bridges of one state directory begin
// with.
func prefixOfPlace(place string) string {
	if place == "" {
		return aliasPrefix + " "
	}
	return aliasPrefix + "-" + place + " "
}

// EnsureBridge makes the network's bridge if it is not there yet, completes it
// if somebody was interrupted while making it, and mends it if the network was
// defined anew. Any number of processes may do so at a time. A device of that
// name that is not cleat's is left alone: the error wraps spec.ErrConflict.
func EnsureBridge(n *netd.Network) (Bridge, error) {
	c, err := dial()
	if err != nil {
		return Bridge{}, err
	}
	defer c.close()
	for range 10 { // others may make or remove it between two steps
		found, err := c.link(n.Device)
		if errors.Is(err, unix.ENODEV) {
			err = c.addBridge(n)
			if errors.Is(err, unix.EEXIST) || err == nil {
				continue
			}
			return Bridge{}, err
		}
		if err != nil {
			return Bridge{}, err
		}
		if found.alias == alias(n) {
			return Bridge{found.index, found.mtu}, nil
		}
		err = c.complete(n, found)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, fs.ErrNotExist) {
			return Bridge{}, fmt.Errorf("bridge %s: %w", n.Device, err)
		}
	}
	return Bridge{}, fmt.Errorf("bridge %s is made and removed again and again: %w", n.Device, spec.ErrUnavail)
}

// alias returns the alias of the network's finished bridge.
func alias(n *netd.Network) string {
	h := fnv.New64a()
	fmt.Fprint(h, 2, n.ID, n.Internal, n.MTU)
	for _, s := range n.Subnets {
		fmt.Fprint(h, " ", s.Bridge())
	}
	return fmt.Sprintf("%s%s %016x", prefixOfPlace(n.Place), n.Name, h.Sum64())
}

// bridgeMAC returns the bridge's own address. It is fixed, because a bridge
// without one takes that of its first port, and tells an unfinished bridge of
// ours from anybody else's.
func bridgeMAC(n *netd.Network) []byte {
	h := fnv.New32a()
	fmt.Fprint(h, n.ID)
	return h.Sum([]byte{0x02, 0x44})
}

func (c *conn) addBridge(n *netd.Network) error {
	mtu := uint32(n.MTU)
	if mtu == 0 {
		var err error
		if mtu, err = uplinkMTU(); err != nil {
			return err
		}
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	return c.do(newRequest("make bridge "+n.Device, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(n.Device)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, bridgeMAC(n)),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(mtu)),
		info))
}

// uplinkMTU returns the MTU of the device that the host's default route goes
// through, or 1500 if there is none.
func uplinkMTU() (uint32, error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := dumped(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		})
		if err != nil {
			return 0, fmt.Errorf("list default routes: %w", err)
		}
		for _, r := range routes {
			l, err := netlink.LinkByIndex(r.LinkIndex)
			if err == nil && l.Attrs().MTU > 0 {
				return uint32(l.Attrs().MTU), nil
			}
		}
	}
	return 1500, nil
}

// complete brings a bridge of ours to what the network asks for.
func (c *conn) complete(n *netd.Network, found linkInfo) error {
	ours := found.kind == "bridge" && (found.mac == string(bridgeMAC(n)) || isOurs(found))
	if !ours {
		return fmt.Errorf("a device of this name exists and is not cleat's: %w", spec.ErrConflict)
	}
	if found.alias != "" && found.mac != string(bridgeMAC(n)) {
		if used, err := c.used(found.index); err != nil || used {
			return errors.Join(err, fmt.Errorf("it serves containers of another network (%s): %w", found.alias, spec.ErrConflict))
		}
	}
	if err := bridgeSysctls(n); err != nil {
		return err
	}
	reqs := []request{setLink("bring up bridge", found.index, unix.IFF_UP,
		nl.NewRtAttr(unix.IFLA_ADDRESS, bridgeMAC(n)), nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(netd.DeviceGroup)))}
	if n.MTU != 0 {
		reqs[0].AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(n.MTU))))
	}
	for _, s := range n.Subnets {
		reqs = append(reqs, addAddr(found.index, s.Bridge()))
	}
	if n.Subnet6() != nil && !n.Internal {
		reqs = append(reqs, loopbackRoute(found.index))
	}
	if err := c.do(reqs...); err != nil {
		return err
	}
	if err := dropOtherAddrs(n, found.index); err != nil {
		return err
	}
	return c.do(setLink("mark bridge as complete", found.index, 0, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias(n)))))
}

// loopbackRoute makes ::1 local on the bridge too. It is what route_localnet is
// for IPv4: the answers to a connection to [::1] that was led to a container come
// in by the bridge, and the kernel looks for routes to ::1 on that device alone
// (rt6_need_strict). It opens nothing: a packet that has ::1 in it on the wire is
// dropped before (ip6_rcv). The metric keeps lo's own route first and those of
// several bridges apart.
func loopbackRoute(index int32) request {
	m := nl.NewRtMsg()
	m.Family, m.Dst_len, m.Table, m.Type = unix.AF_INET6, 128, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL
	return newRequest("add route to ::1", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m,
		nl.NewRtAttr(unix.RTA_DST, netip.IPv6Loopback().AsSlice()),
		nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(10000+uint32(index))),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
}

// dropOtherAddrs removes the addresses that the bridge has from an older
// definition of the network.
func dropOtherAddrs(n *netd.Network, index int32) error {
	l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: int(index)}}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() || wanted(n, a.IPNet) {
			continue
		}
		if err := netlink.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", a.IPNet, err)
		}
	}
	return nil
}

// missingAddrs returns the addresses of the network that the bridge lacks.
func missingAddrs(n *netd.Network, index int32) ([]netip.Prefix, error) {
	addrs, err := dumped(func() ([]netlink.Addr, error) {
		return netlink.AddrList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: int(index)}}, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var missing []netip.Prefix
	for _, s := range n.Subnets {
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == s.Bridge().String() }) {
			missing = append(missing, s.Bridge())
		}
	}
	return missing, nil
}

func wanted(n *netd.Network, have *net.IPNet) bool {
	for _, s := range n.Subnets {
		if s.Bridge().String() == have.String() {
			return true
		}
	}
	return false
}

// used reports whether the bridge has ports.
func (c *conn) used(index int32) (bool, error) {
	links, err := dumped(netlink.LinkList)
	if err != nil {
		return false, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == int(index) {
			return true, nil
		}
	}
	return false, nil
}

// isOurs reports whether a device is a finished bridge of cleat's.
func isOurs(l linkInfo) bool {
	return l.kind == "bridge" && (strings.HasPrefix(l.alias, aliasPrefix+" ") || strings.HasPrefix(l.alias, aliasPrefix+"-"))
}

// RemoveBridge removes the bridge of a network. That it is not there is no
// error. If containers are plugged in, or if the device is not cleat's, the
// error wraps spec.ErrConflict and the device stays.
func RemoveBridge(device string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	found, err := c.link(device)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if !isOurs(found) {
		return fmt.Errorf("remove %s: the device is not cleat's: %w", device, spec.ErrConflict)
	}
	used, err := c.used(found.index)
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("remove bridge %s: containers are plugged in: %w", device, spec.ErrConflict)
	}
	return c.remove("remove bridge "+device, found.index)
}

func (c *conn) remove(what string, index int32) error {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = index
	err := c.do(newRequest(what, unix.RTM_DELLINK, 0, m))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Unclaimed returns the bridges of the networks of one state directory (see
// netd.Network) that no container uses and that keep, which is asked with the
// device's name, does not claim. Keep is called after the devices were looked at.
func Unclaimed(place string, keep func(device string) bool) ([]string, error) {
	links, err := dumped(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	used := map[int]bool{}
	for _, l := range links {
		used[l.Attrs().MasterIndex] = true
	}
	var found []string
	for _, l := range links {
		a := l.Attrs()
		if l.Type() == "bridge" && strings.HasPrefix(a.Alias, prefixOfPlace(place)) && !used[a.Index] && !keep(a.Name) {
			found = append(found, a.Name)
		}
	}
	return found, nil
}

// CleanUp removes what Unclaimed finds, and returns the names of those removed.
func CleanUp(place string, keep func(device string) bool) ([]string, error) {
	found, err := Unclaimed(place, keep)
	var gone []string
	for _, device := range found {
		rerr := RemoveBridge(device)
		if rerr == nil {
			gone = append(gone, device)
		} else if !errors.Is(rerr, spec.ErrConflict) { // somebody uses it by now
			err = errors.Join(err, rerr)
		}
	}
	return gone, err
}

// linkInfo is what we want to know of a device.
type linkInfo struct {
	index     int32
	mtu       uint32
	kind, mac string
	alias     string
	up        bool
	master    int32  // index of the bridge that it is a port of, or 0
	group     uint32 // see netd.DeviceGroup
}

// link looks a device up by name. If there is none, the error is ENODEV.
func (c *conn) link(name string) (linkInfo, error) {
	answers, err := c.ask(newRequest("look for "+name, unix.RTM_GETLINK, 0,
		nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))))
	if err != nil {
		return linkInfo{}, err
	}
	if len(answers) == 0 || len(answers[0]) < unix.SizeofIfInfomsg {
		return linkInfo{}, fmt.Errorf("look for %s: no answer", name)
	}
	return parseLink(answers[0])
}

func parseLink(b []byte) (linkInfo, error) {
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return linkInfo{}, fmt.Errorf("parse link: %w", err)
	}
	l := linkInfo{index: int32(binary.NativeEndian.Uint32(b[4:])), up: binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_MTU:
			l.mtu = binary.NativeEndian.Uint32(a.Value)
		case unix.IFLA_ADDRESS:
			l.mac = string(a.Value)
		case unix.IFLA_MASTER:
			l.master = int32(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_GROUP:
			l.group = binary.NativeEndian.Uint32(a.Value)
		case unix.IFLA_IFALIAS:
			l.alias = nl.BytesToString(a.Value)
		case unix.IFLA_LINKINFO:
			if l.kind, err = parseKind(a.Value); err != nil {
				return linkInfo{}, err
			}
		}
	}
	return l, nil
}

func parseKind(b []byte) (string, error) {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return "", fmt.Errorf("parse link: %w", err)
	}
	for _, a := range attrs {
		if a.Attr.Type == nl.IFLA_INFO_KIND {
			return nl.BytesToString(a.Value), nil
		}
	}
	return "", nil
}
