package netd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// macvlanModes are what macvlan_mode can be; the first is the default.
var macvlanModes = []string{"bridge", "vepa", "private", "passthru"}

// checkDriver refuses drivers that there are none of.
func (n *Network) checkDriver() error {
	switch n.Driver {
	case DriverBridge, DriverMacvlan:
		return nil
	case "ipvlan":
		return fmt.Errorf("network %q: driver ipvlan is not supported: use %s, which puts containers on the LAN as well, with a MAC address each: %w", n.Name, DriverMacvlan, spec.ErrInvalid)
	case "overlay":
		return fmt.Errorf("network %q: driver overlay is not supported: there are no networks across hosts: %w", n.Name, spec.ErrInvalid)
	}
	return fmt.Errorf("network %q: driver %q is not known: want %s or %s: %w", n.Name, n.Driver, DriverBridge, DriverMacvlan, spec.ErrInvalid)
}

// checkDevices looks at the names of devices.
func (n *Network) checkDevices() error {
	if n.Driver != DriverMacvlan {
		return checkDevice(n.Device)
	}
	if n.Parent == "" {
		return fmt.Errorf("it needs the device whose LAN the containers are on: give -o parent=DEVICE: %w", spec.ErrInvalid)
	}
	if !slices.Contains(macvlanModes, n.Mode) {
		return fmt.Errorf("macvlan_mode %q: want one of %s: %w", n.Mode, strings.Join(macvlanModes, ", "), spec.ErrInvalid)
	}
	if len(n.Parent) > maxDevice {
		return fmt.Errorf("parent %q: the name of a device has %d characters at most: %w", n.Parent, maxDevice, spec.ErrInvalid)
	}
	base, id, isVLAN := n.VLAN()
	if err := checkDevice(base); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	if isVLAN && id == 0 {
		return fmt.Errorf("parent %q: want a VLAN from 1 to 4094 after the point: %w", n.Parent, spec.ErrInvalid)
	}
	return nil
}

// VLAN splits a parent like "eth0.5" into the device and the number of the VLAN
// on it, 0 if it is not a good one. Any other parent is the device itself.
func (n *Network) VLAN() (base string, id uint16, isVLAN bool) {
	i := strings.LastIndexByte(n.Parent, '.')
	if i < 0 {
		return n.Parent, 0, false
	}
	num, err := strconv.ParseUint(n.Parent[i+1:], 10, 16)
	if err != nil || num > 4094 || n.Parent[i+1] == '0' {
		num = 0
	}
	return n.Parent[:i], uint16(num), true
}

// macvlanOption applies one -o of the macvlan driver. The keys are Docker's.
func (n *Network) macvlanOption(key, value string) (err error) {
	switch key {
	case "parent":
		n.Parent = value
	case "macvlan_mode":
		n.Mode = value
	case "com.docker.network.driver.mtu":
		if n.MTU, err = strconv.Atoi(value); err == nil {
			err = n.checkMTU()
		}
	default:
		return fmt.Errorf("unknown key for driver %s: %w", n.Driver, spec.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", spec.ErrInvalid, err)
	}
	return nil
}

// needsSubnets refuses a macvlan network without the address space of the LAN
// that it is part of: one out of a pool could not work there.
func (n *Network) needsSubnets(req Request) error {
	if n.Driver != DriverMacvlan {
		return nil
	}
	var four, six bool
	for _, s := range req.Subnets {
		four = four || s.Prefix.IsValid() && s.Prefix.Addr().Is4()
		six = six || s.Prefix.IsValid() && s.Prefix.Addr().Is6()
	}
	if four == req.NoIPv4 || six != req.IPv6 {
		return fmt.Errorf("it is part of a LAN: give that one's --subnet, its --gateway, and an --ip-range that nobody else uses: %w", spec.ErrInvalid)
	}
	return nil
}
