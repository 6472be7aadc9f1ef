package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
)

// Reroute brings the default routes in network namespace ns, a descriptor, from
// those of the endpoints before to those of the endpoints now. Routes that the
// container has made itself are left alone.
func Reroute(ns int, before, now []netd.Endpoint) error {
	gone, more := without(gateways(before), gateways(now)), without(gateways(now), gateways(before))
	if len(gone)+len(more) == 0 {
		return nil
	}
	return inside(ns, func() error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.close()
		for _, g := range gone { // first: of two default routes that look alike there can be but one
			if err := c.route(g, delDefaultRoute); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
				return err
			}
		}
		for _, g := range more {
			if err := c.route(g, addDefaultRoute); err != nil {
				return err
			}
		}
		return nil
	})
}

// gateway is a default route: by this address on this interface.
type gateway struct {
	device string
	addr   netip.Addr
}

func gateways(endpoints []netd.Endpoint) []gateway {
	var all []gateway
	for _, e := range endpoints {
		for _, a := range []netip.Addr{e.Gateway4, e.Gateway6} {
			if a.IsValid() {
				all = append(all, gateway{e.Interface(), a})
			}
		}
	}
	return all
}

func without(all, less []gateway) []gateway {
	return slices.DeleteFunc(all, func(g gateway) bool { return slices.Contains(less, g) })
}

func (c *conn) route(g gateway, change func(int32, netip.Addr) request) error {
	in, err := c.link(g.device)
	if err != nil {
		return fmt.Errorf("default route by %s: %w", g.addr, err)
	}
	return c.do(change(in.index, g.addr))
}

func delDefaultRoute(index int32, gw netip.Addr) request {
	m := nl.NewRtDelMsg()
	m.Family = uint8(family(gw))
	return newRequest("remove default route by "+gw.String(), unix.RTM_DELROUTE, 0, m,
		nl.NewRtAttr(unix.RTA_GATEWAY, gw.AsSlice()),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
}
