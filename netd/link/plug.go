package link

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Plug connects the network namespace ns, a descriptor that stays the caller's,
// to a bridge: a veth pair, whose one end is made inside of the namespace with
// the endpoint's name, addresses and routes, and is up when Plug returns, as is
// lo. When the namespace ends, the kernel removes the pair. On failure nothing
// is left. A device that an earlier run of the same container has left on the
// host, because the kernel takes its time, is replaced.
func Plug(br Bridge, ns int, e netd.Endpoint) (err error) {
	if err := e.Check(); err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	pair, err := vethRequests(br, ns, e)
	if err != nil {
		return err
	}
	err = c.do(pair...)
	if errors.Is(err, unix.EEXIST) {
		if err := c.unplug(e.HostInterface()); err != nil {
			return err
		}
		err = c.do(pair...)
	}
	if err == nil {
		err = inside(ns, func() error { return configure(e) })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("plug %s into %s: %w", e.Interface(), spec.ShortID(e.NetworkID), err), c.unplug(e.HostInterface()))
	}
	return nil
}

// vethRequests returns the messages that make the pair. Three are needed: the
// kernel takes some attributes only for a device that exists, and settings of a
// bridge port only once it is one.
func vethRequests(br Bridge, ns int, e netd.Endpoint) ([]request, error) {
	mac, err := e.HardwareAddr()
	if err != nil {
		return nil, err
	}
	mtu := br.MTU
	if e.MTU != 0 {
		mtu = uint32(e.MTU)
	}
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(e.HostInterface()))

	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(e.Interface()))
	peer.AddRtAttr(unix.IFLA_ADDRESS, mac[:])
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(mtu))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns)))
	pair := newRequest("make veth pair", unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		nl.NewIfInfomsg(unix.AF_UNSPEC), name, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(mtu)),
		nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(br.Index))), info)

	// A port of a bridge needs no address of its own, not even a link-local one.
	af := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	if HasIPv6() {
		af.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(1)) // 1: none
	}
	noAddr := newRequest("set up veth", unix.RTM_NEWLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), name, af)

	return []request{pair, noAddr, portRequest(e)}, nil
}

// portRequest returns the message that sets up the port of the bridge that the
// endpoint's interface on the host is.
func portRequest(e netd.Endpoint) request {
	port := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	port.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	data := port.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil)
	data.AddRtAttr(nl.IFLA_BRPORT_MODE, nl.Uint8Attr(1)) // hairpin: needed where br_netfilter translates on the bridge
	if e.Isolated {
		data.AddRtAttr(nl.IFLA_BRPORT_ISOLATED, nl.Uint8Attr(1))
	}
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Flags, m.Change = unix.IFF_UP, unix.IFF_UP
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(e.HostInterface()))
	return newRequest("set up bridge port", unix.RTM_NEWLINK, 0, m, name, port)
}

// Unplug disconnects a running container from the endpoint's network. That it
// is not connected is no error.
func Unplug(e netd.Endpoint) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	return c.unplug(e.HostInterface())
}

func (c *conn) unplug(name string) error {
	found, err := c.link(name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.kind != "veth" {
		return fmt.Errorf("remove %s: not a veth: %w", name, spec.ErrConflict)
	}
	return c.remove("remove "+name, found.index)
}

// inside runs f in another network namespace. It does so on a thread of its own,
// which ends if it cannot come back.
func inside(ns int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer func() { _ = unix.Close(home) }()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// LoopbackUp brings lo up in network namespace ns: all that a container on no
// network needs.
func LoopbackUp(ns int) error {
	return inside(ns, func() error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.close()
		return c.do(setLink("bring up lo", loIndex, unix.IFF_UP))
	})
}

// loIndex is the index of lo: the kernel's LOOPBACK_IFINDEX.
const loIndex = 1

// configure sets up the inner end of the pair. The calling thread is in the
// container's network namespace.
func configure(e netd.Endpoint) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	in, err := c.link(e.Interface())
	if err != nil {
		return err
	}
	if err := endpointSysctls(e); err != nil {
		return err
	}
	reqs := []request{setLink("bring up lo", loIndex, unix.IFF_UP), setLink("bring up "+e.Interface(), in.index, unix.IFF_UP)}
	for _, a := range []netip.Prefix{e.Addr4, e.Addr6} {
		if a.IsValid() {
			reqs = append(reqs, addAddr(in.index, a))
		}
	}
	for _, gw := range []netip.Addr{e.Gateway4, e.Gateway6} {
		if gw.IsValid() {
			reqs = append(reqs, addDefaultRoute(in.index, gw))
		}
	}
	return c.do(reqs...)
}

// endpointSysctls keeps IPv6 off a network that has none, and elsewhere keeps
// neighbours from being taken for routers and addresses from being doubted: they
// come of a lease, and an address on probation cannot be bound to for a second.
func endpointSysctls(e netd.Endpoint) error {
	if !HasIPv6() {
		return nil
	}
	dir := "ipv6/conf/" + e.Interface()
	if !e.Addr6.IsValid() {
		return put(dir+"/disable_ipv6", "1")
	}
	for _, s := range [][2]string{{"accept_ra", "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}} {
		if err := set(dir+"/"+s[0], s[1]); err != nil { // reading first saves a wait for the lock
			return err
		}
	}
	return nil
}

// setLink changes flags and attributes of a device.
func setLink(what string, index int32, up uint32, data ...nl.NetlinkRequestData) request {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index, m.Flags, m.Change = index, up, up
	return newRequest(what, unix.RTM_SETLINK, 0, append([]nl.NetlinkRequestData{m}, data...)...)
}

// addAddr gives a device an address with the route to its subnet. An address
// that it has already is no error.
func addAddr(index int32, p netip.Prefix) request {
	m := nl.NewIfAddrmsg(family(p.Addr()))
	m.Prefixlen, m.Index = uint8(p.Bits()), uint32(index)
	m.IfAddrmsg.Flags = unix.IFA_F_NODAD | unix.IFA_F_PERMANENT
	data := []nl.NetlinkRequestData{m,
		nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()),
		nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice())}
	if p.Addr().Is4() {
		data = append(data, nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p)))
	}
	return newRequest("add address "+p.String(), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, data...)
}

func broadcast(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

func addDefaultRoute(index int32, gw netip.Addr) request {
	m := nl.NewRtMsg()
	m.Family = uint8(family(gw))
	return newRequest("add default route by "+gw.String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m,
		nl.NewRtAttr(unix.RTA_GATEWAY, gw.AsSlice()),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
