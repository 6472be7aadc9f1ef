package netd

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// The bounds of a network's MTU in bytes: IPv4 needs the lower one (RFC 791),
// the upper one is the kernel's, for IPv6 see minMTU6.
const (
	minMTU  = 68
	minMTU6 = 1280 // RFC 8200, section 5
	maxMTU  = 65535
)

// Check returns an error that wraps spec.ErrInvalid if the network does not
// make sense by itself, whatever other networks there are.
func (n *Network) Check() error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if err := n.checkDriver(); err != nil {
		return err
	}
	if err := n.checkDevices(); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	if len(n.Subnets) == 0 || len(n.Subnets) > 2 || len(n.Subnets) == 2 && n.Subnet4() == nil || len(n.Subnets) == 2 && n.Subnet6() == nil {
		return fmt.Errorf("network %q: want one subnet, or one of IPv4 and one of IPv6: %w", n.Name, spec.ErrInvalid)
	}
	for _, s := range n.Subnets {
		if err := s.check(); err != nil {
			return fmt.Errorf("network %q: %w", n.Name, err)
		}
	}
	return n.checkMTU()
}

func (n *Network) checkMTU() error {
	lowest := minMTU
	if n.Subnet6() != nil {
		lowest = minMTU6
	}
	if n.MTU != 0 && (n.MTU < lowest || n.MTU > maxMTU) {
		return fmt.Errorf("network %q: MTU %d: want %d to %d: %w", n.Name, n.MTU, lowest, maxMTU, spec.ErrInvalid)
	}
	return nil
}

// CheckName returns an error that wraps spec.ErrInvalid if no network can have
// the name. The words that --network takes for something else are refused too.
func CheckName(name string) error {
	switch name {
	case "none", "host", "container", "default":
		return fmt.Errorf("network name %q is reserved: %w", name, spec.ErrInvalid)
	}
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", c)) {
			return fmt.Errorf("network name %q: want letters, digits, and _ . - after the first: %w", name, spec.ErrInvalid)
		}
	}
	if name == "" || len(name) > 128 {
		return fmt.Errorf("network name %q: want 1 to 128 characters: %w", name, spec.ErrInvalid)
	}
	return nil
}

// checkDevice refuses what the kernel would refuse, and what would name another
// file than the device's in /proc/sys/net.
func checkDevice(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/.:%", r) }
	if name == "" || len(name) > maxDevice || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("device %q: want 1 to %d characters without space / . : %%: %w", name, maxDevice, spec.ErrInvalid)
	}
	switch name {
	case "all", "default", "lo":
		return fmt.Errorf("device %q is reserved: %w", name, spec.ErrInvalid)
	}
	return nil
}

func (s Subnet) check() error {
	if err := checkPrefix(s.Prefix); err != nil {
		return err
	}
	if err := s.CheckAddr(s.Gateway); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if s.Range.IsValid() && (!s.Prefix.Contains(s.Range.Addr()) || s.Range.Bits() < s.Prefix.Bits()) {
		return fmt.Errorf("range %s is not within subnet %s: %w", s.Range, s.Prefix, spec.ErrInvalid)
	}
	for name, a := range s.Aux {
		if !s.Prefix.Contains(a) {
			return fmt.Errorf("auxiliary address %s=%s is not within subnet %s: %w", name, a, s.Prefix, spec.ErrInvalid)
		}
	}
	return nil
}

// checkPrefix accepts subnets that have room for a gateway and a container and
// addresses that can be routed.
func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("no subnet: %w", spec.ErrInvalid)
	case p != p.Masked():
		return fmt.Errorf("subnet %s has host bits set, did you mean %s: %w", p, p.Masked(), spec.ErrInvalid)
	case p.Bits() == 0 || p.Addr().BitLen()-p.Bits() < 2:
		return fmt.Errorf("subnet %s: want a length from 1 to %d: %w", p, p.Addr().BitLen()-2, spec.ErrInvalid)
	case p.Addr().Is4In6() || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast():
		return fmt.Errorf("subnet %s cannot be routed: %w", p, spec.ErrInvalid)
	}
	return nil
}

// CheckAddr returns an error that wraps spec.ErrInvalid if no host of the
// subnet can have the address.
func (s Subnet) CheckAddr(a netip.Addr) error {
	if !a.IsValid() || !s.Prefix.Contains(a) {
		return fmt.Errorf("address %s is not within subnet %s: %w", a, s.Prefix, spec.ErrInvalid)
	}
	if a == s.Prefix.Addr() || a.Is4() && a == last(s.Prefix) {
		return fmt.Errorf("address %s is the network or broadcast address of %s: %w", a, s.Prefix, spec.ErrInvalid)
	}
	return nil
}

// CheckStatic returns an error that wraps spec.ErrInvalid if a container cannot
// ask for addresses addr4 and addr6 in the network; a zero one is not asked for.
func (n *Network) CheckStatic(addr4, addr6 netip.Addr) error {
	if addr4.IsValid() && !addr4.Is4() || addr6.IsValid() && (!addr6.Is6() || addr6.Is4In6()) {
		return fmt.Errorf("addresses %s and %s are of the wrong family: %w", addr4, addr6, spec.ErrInvalid)
	}
	for _, ask := range []struct {
		addr   netip.Addr
		subnet *Subnet
		family string
	}{{addr4, n.Subnet4(), "IPv4"}, {addr6, n.Subnet6(), "IPv6"}} {
		if !ask.addr.IsValid() {
			continue
		}
		if ask.subnet == nil {
			return fmt.Errorf("address %s: network %q has no %s: %w", ask.addr, n.Name, ask.family, spec.ErrInvalid)
		}
		if err := ask.subnet.CheckAddr(ask.addr); err != nil {
			return fmt.Errorf("network %q: %w", n.Name, err)
		}
		if ask.addr == ask.subnet.Gateway {
			return fmt.Errorf("network %q: address %s is the gateway's: %w", n.Name, ask.addr, spec.ErrInvalid)
		}
	}
	return nil
}

// last returns the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
