package link

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
)

// Inspect compares the host with what a network and its endpoints need, those of
// running containers, and returns what is wrong in words. It changes nothing.
func Inspect(n *netd.Network, ends []netd.Endpoint) ([]string, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	if n.Driver == netd.DriverMacvlan {
		return c.inspectParent(n)
	}
	br, err := c.link(n.Device)
	if errors.Is(err, unix.ENODEV) {
		return []string{fmt.Sprintf("bridge %s is missing", n.Device)}, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := inspectBridge(n, br)
	if err != nil {
		return nil, err
	}
	for _, e := range ends {
		port, err := c.link(e.HostInterface())
		switch {
		case errors.Is(err, unix.ENODEV):
			found = append(found, fmt.Sprintf("interface %s is missing: restart the container", e.HostInterface()))
		case err != nil:
			return nil, err
		case port.master != br.index || !port.up:
			found = append(found, fmt.Sprintf("interface %s is not connected to bridge %s", e.HostInterface(), n.Device))
		}
	}
	return found, nil
}

func inspectBridge(n *netd.Network, br linkInfo) ([]string, error) {
	var found []string
	switch {
	case br.alias != alias(n):
		return []string{fmt.Sprintf("bridge %s is not as the network says", n.Device)}, nil
	case !br.up:
		found = append(found, fmt.Sprintf("bridge %s is down", n.Device))
	case br.group != netd.DeviceGroup:
		found = append(found, fmt.Sprintf("bridge %s is not in group %d", n.Device, netd.DeviceGroup))
	}
	missing, err := missingAddrs(n, br.index)
	if err != nil {
		return nil, err
	}
	for _, a := range missing {
		found = append(found, fmt.Sprintf("bridge %s has no address %s", n.Device, a))
	}
	wanted := sysctlsOf(n)
	for _, s := range wanted {
		ok, err := has(s.key, s.value)
		if err != nil {
			return nil, err
		}
		if !ok {
			found = append(found, fmt.Sprintf("sysctl net.%s is not %s", strings.ReplaceAll(s.key, "/", "."), s.value))
		}
	}
	off, err := notForwarding(n)
	return append(found, off...), err
}

// notForwarding finds families in which the kernel has to forward packets for
// the network and does not.
func notForwarding(n *netd.Network) ([]string, error) {
	var found []string
	for _, f := range []struct {
		key    string
		subnet *netd.Subnet
	}{{forwarding4, n.Subnet4()}, {forwarding6, n.Subnet6()}} {
		if n.Internal || f.subnet == nil {
			continue
		}
		off, err := has(f.key, "0")
		if err != nil {
			return nil, err
		}
		if off {
			found = append(found, fmt.Sprintf("sysctl net.%s is 0", strings.ReplaceAll(f.key, "/", ".")))
		}
	}
	return found, nil
}

// Restore brings back what a network needs on the host, whatever has happened to
// it: its bridge with addresses and settings, and the bridge's ports of the
// endpoints, those of running containers. What is in order is left alone; an
// interface that is gone comes back when its container starts again.
func Restore(n *netd.Network, ends []netd.Endpoint) error {
	if n.Driver == netd.DriverMacvlan {
		return restoreParent(n)
	}
	br, err := EnsureBridge(n)
	if err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	found, err := c.link(n.Device)
	if err == nil {
		err = c.complete(n, found)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", n.Device, err)
	}
	for _, e := range ends {
		port, err := c.link(e.HostInterface())
		if errors.Is(err, unix.ENODEV) || err == nil && port.master == br.Index && port.up {
			continue
		}
		if err == nil {
			err = c.do(setLink("connect "+e.HostInterface(), port.index, 0, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(br.Index)))), portRequest(e))
		}
		if err != nil && !errors.Is(err, unix.ENODEV) { // unless the container has ended meanwhile
			return fmt.Errorf("bridge %s: %w", n.Device, err)
		}
	}
	return nil
}
