package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// DropBridge is RemoveBridge for a network that no container has an address of
// any more: what is still plugged in is what the kernel has not yet removed of
// containers that have ended. A device that is not cleat's stays where it is.
func DropBridge(device string) error {
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
		return nil
	}
	if err := c.unplugAll(found.index); err != nil {
		return fmt.Errorf("remove bridge %s: %w", device, err)
	}
	return c.remove("remove bridge "+device, found.index)
}

// unplugAll removes every veth that is a port of the bridge.
func (c *conn) unplugAll(bridge int32) error {
	links, err := dumped(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.MasterIndex != int(bridge) {
			continue
		}
		if l.Type() != "veth" {
			return fmt.Errorf("%s is plugged in, which is not cleat's: %w", a.Name, spec.ErrConflict)
		}
		if err := c.remove("remove "+a.Name, int32(a.Index)); err != nil {
			return err
		}
	}
	return nil
}

// Plugged reports whether the endpoint's device is there, of the container with
// network namespace ns.
func Plugged(ns int, e netd.Endpoint) bool {
	if e.Direct {
		return inside(ns, func() error { return lookFor(e.Interface()) }) == nil
	}
	return lookFor(e.HostInterface()) == nil
}

// lookFor returns an error unless the device is in the calling thread's network
// namespace.
func lookFor(device string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.link(device)
	return err
}
