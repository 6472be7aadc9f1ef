package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Attach connects the network namespace ns, a descriptor that stays the caller's,
// to network n in the way of its driver. What the network needs on the host is
// made if it is not there. On failure nothing of the container is left.
func Attach(n *netd.Network, ns int, e netd.Endpoint) error {
	if n.Driver == netd.DriverMacvlan {
		return plugMacvlan(n, ns, e)
	}
	br, err := EnsureBridge(n)
	if err != nil {
		return err
	}
	return Plug(br, ns, e)
}

// Drop removes what network n, which no container uses any more, has on the
// host. What is not cleat's stays.
func Drop(n *netd.Network) error {
	if n.Driver == netd.DriverMacvlan {
		return dropParent(n)
	}
	return DropBridge(n.Device)
}

// Detach disconnects the container with network namespace ns from the network of
// e. That it is not connected is no error.
func Detach(ns int, e netd.Endpoint) error {
	if e.Direct {
		return inside(ns, func() error { return removeMacvlan(e.Interface()) })
	}
	return Unplug(e)
}

// plugMacvlan makes a macvlan on the network's parent inside of ns and sets it up.
func plugMacvlan(n *netd.Network, ns int, e netd.Endpoint) error {
	if err := e.Check(); err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	parent, err := c.ensureParent(n)
	if err != nil {
		return err
	}
	req, err := macvlanRequest(n, parent, ns, e)
	if err != nil {
		return err
	}
	err = c.do(req)
	if err == nil {
		if err = inside(ns, func() error { return configure(e) }); err != nil {
			err = errors.Join(err, inside(ns, func() error { return removeMacvlan(e.Interface()) }))
		}
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%s cannot have a macvlan of mode %s now, it may be in a bridge or a bond, or have one already: %w", n.Parent, n.Mode, err)
	}
	if err != nil {
		return fmt.Errorf("plug %s into %s: %w", e.Interface(), spec.ShortID(e.NetworkID), err)
	}
	return nil
}

func macvlanRequest(n *netd.Network, parent linkInfo, ns int, e netd.Endpoint) (request, error) {
	mac, err := e.HardwareAddr()
	if err != nil {
		return request{}, err
	}
	mtu := parent.mtu
	if e.MTU != 0 {
		mtu = uint32(e.MTU)
	}
	mode := map[string]uint32{"private": nl.MACVLAN_MODE_PRIVATE, "vepa": nl.MACVLAN_MODE_VEPA, "bridge": nl.MACVLAN_MODE_BRIDGE, "passthru": nl.MACVLAN_MODE_PASSTHRU}[n.Mode]
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("macvlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_MACVLAN_MODE, nl.Uint32Attr(mode))
	data := []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(parent.index))),
		nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns))),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(e.Interface())),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(mtu)),
	}
	if n.Mode != "passthru" { // there the container has the parent's address
		data = append(data, nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
	}
	return newRequest("make macvlan on "+n.Parent, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(data, info)...), nil
}

// removeMacvlan removes a macvlan of the calling thread's network namespace.
func removeMacvlan(name string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	found, err := c.link(name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.kind != "macvlan" {
		return fmt.Errorf("remove %s: not a macvlan: %w", name, spec.ErrConflict)
	}
	return c.remove("remove "+name, found.index)
}

// ensureParent returns the network's parent, which is brought up. A VLAN that is
// missing is made; its alias says that it is cleat's to remove.
func (c *conn) ensureParent(n *netd.Network) (linkInfo, error) {
	for range 3 { // others may make it between two steps
		found, err := c.link(n.Parent)
		if err == nil {
			if !found.up {
				err = c.do(setLink("bring up "+n.Parent, found.index, unix.IFF_UP))
			}
			return found, err
		}
		if !errors.Is(err, unix.ENODEV) {
			return linkInfo{}, err
		}
		if err := c.addVLAN(n); err != nil && !errors.Is(err, unix.EEXIST) {
			return linkInfo{}, err
		}
	}
	return linkInfo{}, fmt.Errorf("device %s is made and removed again and again: %w", n.Parent, spec.ErrUnavail)
}

func (c *conn) addVLAN(n *netd.Network) error {
	name, id, isVLAN := n.VLAN()
	base, err := c.link(name)
	if errors.Is(err, unix.ENODEV) || err == nil && !isVLAN {
		return fmt.Errorf("the host has no device %s: %w", name, spec.ErrNotFound)
	}
	if err != nil {
		return err
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(id))
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Flags, m.Change = unix.IFF_UP, unix.IFF_UP
	alias := nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(vlanAlias(n)))
	ifname := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(n.Parent))
	err = c.do(newRequest("make VLAN "+n.Parent, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m,
		ifname, nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(base.index))), info))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("make VLAN %s: the kernel has no VLANs (module 8021q): %w", n.Parent, spec.ErrUnsupport)
	}
	if err != nil {
		return err
	}
	// The kernel takes an alias only for a device that exists. One that is killed
	// here leaves a VLAN that looks like the administrator's.
	return c.do(newRequest("mark VLAN "+n.Parent, unix.RTM_NEWLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), ifname, alias))
}

func vlanAlias(n *netd.Network) string { return prefixOfPlace(n.Place) + n.Name }

// dropParent removes a VLAN that cleat has made for the network.
func dropParent(n *netd.Network) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	found, err := c.link(n.Parent)
	if errors.Is(err, unix.ENODEV) || err == nil && (found.kind != "vlan" || found.alias != vlanAlias(n)) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.remove("remove VLAN "+n.Parent, found.index)
}

// restoreParent makes and brings up the network's parent.
func restoreParent(n *netd.Network) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.ensureParent(n)
	return err
}

// inspectParent finds what is wrong with the network's parent.
func (c *conn) inspectParent(n *netd.Network) ([]string, error) {
	found, err := c.link(n.Parent)
	switch {
	case errors.Is(err, unix.ENODEV):
		return []string{fmt.Sprintf("parent device %s is missing", n.Parent)}, nil
	case err == nil && !found.up:
		return []string{fmt.Sprintf("parent device %s is down", n.Parent)}, nil
	}
	return nil, err
}
