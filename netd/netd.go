// Package netd holds what container networks are made of, as plain data and
// pure decisions: networks and their subnets, endpoints, published ports, and
// the leases by which addresses are given out. It speaks to no kernel interface
// but the file system of the leases; package netd/link plugs containers in,
// package netd/nft keeps the firewall, package netd/dns answers for names.
package netd

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// The drivers of networks.
const (
	DriverBridge  = "bridge"  // a Linux bridge on this host
	DriverMacvlan = "macvlan" // containers are on the LAN of a device of the host's, with MAC addresses of their own
)

// The default network, which is there without having been created.
const (
	DefaultName   = "bridge"
	DefaultDevice = "cleat0"
)

// DeviceGroup is the group (see ip-link(8)) of all bridges of cleat's. By it the
// firewalls of several state directories on one host know each other's.
const DeviceGroup = 0xc1ea7

// maxDevice is the longest name of a network interface: IFNAMSIZ without the
// final zero byte, see netdevice(7).
const maxDevice = 15

// Network is one container network. Its zero value is not valid; Plan makes
// one and Check looks it over after it was read from disk.
type Network struct {
	Version    int               `json:"version"` // of this format: 1
	ID         string            `json:"id"`      // 64 lower-case hex digits
	Name       string            `json:"name"`    // unique; [a-zA-Z0-9][a-zA-Z0-9_.-]*
	Created    time.Time         `json:"created"`
	Place      string            `json:"place,omitempty"`   // as Surroundings.Place
	Driver     string            `json:"driver"`            // DriverBridge or DriverMacvlan
	Device     string            `json:"device,omitempty"`  // of the bridge on the host, for example "cleat0"; a macvlan has none
	Parent     string            `json:"parent,omitempty"`  // macvlan: the device of the host's; "eth0.5", VLAN 5 of eth0, is made if it is not there
	Mode       string            `json:"mode,omitempty"`    // macvlan: see ip-link(8)
	Subnets    []Subnet          `json:"subnets"`           // at most one of each family, IPv4 first
	Internal   bool              `json:"internal"`          // no way out of the network
	Attachable bool              `json:"attachable"`        // accepted for Docker's sake; means nothing
	Isolated   bool              `json:"isolated"`          // its containers do not reach each other (enable_icc=false)
	NoMasq     bool              `json:"no_masq"`           // outgoing traffic keeps its source (enable_ip_masquerade=false)
	HostIP     netip.Addr        `json:"host_ip,omitzero"`  // published ports without an address listen here; zero means everywhere
	MTU        int               `json:"mtu,omitempty"`     // in bytes; 0 means that of the host's default route
	Labels     map[string]string `json:"labels,omitempty"`  // as the user gave them
	Options    map[string]string `json:"options,omitempty"` // -o, as the user gave them
}

// Subnet is the address space of a network in one family.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`              // masked
	Gateway netip.Addr            `json:"gateway"`             // the bridge's own address
	Range   netip.Prefix          `json:"range,omitzero"`      // containers get addresses of it; zero means all of Prefix
	Aux     map[string]netip.Addr `json:"auxiliary,omitempty"` // addresses that are never given out, by name
}

// Subnet4 returns the IPv4 subnet, or nil if the network has none.
func (n *Network) Subnet4() *Subnet { return n.subnet(true) }

// Subnet6 returns the IPv6 subnet, or nil if the network has none.
func (n *Network) Subnet6() *Subnet { return n.subnet(false) }

func (n *Network) subnet(is4 bool) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].Prefix.Addr().Is4() == is4 {
			return &n.Subnets[i]
		}
	}
	return nil
}

// Default reports whether n is the network that is there without having been
// created, on which names are not resolved and which cannot be removed.
func (n *Network) Default() bool { return n.Name == DefaultName }

// Bridge returns the address that the bridge itself has in the subnet.
func (s Subnet) Bridge() netip.Prefix {
	return netip.PrefixFrom(s.Gateway, s.Prefix.Bits())
}

// Endpoint is one connection of a container to a network, complete with the
// addresses that it has got for this run.
type Endpoint struct {
	NetworkID   string       `json:"network"`            // of the network
	ContainerID string       `json:"container"`          // of the container
	Index       int          `json:"index"`              // among the container's networks, from 0: the 2 in eth2
	Addr4       netip.Prefix `json:"addr4,omitzero"`     // with the subnet's length; zero means no IPv4
	Addr6       netip.Prefix `json:"addr6,omitzero"`     // likewise
	Gateway4    netip.Addr   `json:"gateway4,omitzero"`  // of the default route; zero means no default route here
	Gateway6    netip.Addr   `json:"gateway6,omitzero"`  // likewise
	MAC         string       `json:"mac,omitempty"`      // "02:42:ac:11:00:02"; "" means the one of MACFor
	Aliases     []string     `json:"aliases,omitempty"`  // further names in the network's DNS
	Isolated    bool         `json:"isolated,omitempty"` // as in Network
	Direct      bool         `json:"direct,omitempty"`   // on the LAN itself: nothing of it is on the host
	MTU         int          `json:"mtu,omitempty"`      // in bytes; 0 means that of the bridge
}

// Interface returns the name of the endpoint's interface in the container.
func (e Endpoint) Interface() string { return fmt.Sprintf("eth%d", e.Index) }

// HostInterface returns the name of the endpoint's interface on the host: "cv",
// the 12 digits by which people know the container, and the index in base 36.
func (e Endpoint) HostInterface() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	return "cv" + spec.ShortID(e.ContainerID) + digits[e.Index:e.Index+1]
}

// MaxNetworks is how many networks a container can be connected to at a time.
const MaxNetworks = 36

// Check returns an error that wraps spec.ErrInvalid if the endpoint does not
// make sense by itself.
func (e Endpoint) Check() error {
	if len(e.ContainerID) < 12 || strings.ContainsAny(e.ContainerID, "/. ") {
		return fmt.Errorf("endpoint of container %q: not an id: %w", e.ContainerID, spec.ErrInvalid)
	}
	if e.Index < 0 || e.Index >= MaxNetworks {
		return fmt.Errorf("endpoint %d: a container has at most %d networks: %w", e.Index, MaxNetworks, spec.ErrInvalid)
	}
	if !e.Addr4.IsValid() && !e.Addr6.IsValid() {
		return fmt.Errorf("endpoint %d: no address: %w", e.Index, spec.ErrInvalid)
	}
	if e.Addr4.IsValid() && !e.Addr4.Addr().Is4() || e.Addr6.IsValid() && !e.Addr6.Addr().Is6() {
		return fmt.Errorf("endpoint %d: %s and %s are of the wrong family: %w", e.Index, e.Addr4, e.Addr6, spec.ErrInvalid)
	}
	if e.MAC != "" {
		if _, err := ParseMAC(e.MAC); err != nil {
			return err
		}
	}
	return nil
}

// HardwareAddr returns the six bytes of the endpoint's MAC address.
func (e Endpoint) HardwareAddr() ([6]byte, error) {
	if e.MAC != "" {
		return ParseMAC(e.MAC)
	}
	if e.Addr4.IsValid() {
		return MACFor(e.Addr4.Addr()), nil
	}
	return MACFor(e.Addr6.Addr()), nil
}

// MACFor returns the MAC address of a container with address a: 02:42 and the
// four bytes of an IPv4 address, as Docker had it for long, or 02:43 and the
// last four of an IPv6 one. Because it follows from the address, a neighbour's
// ARP cache stays right when the address changes hands.
func MACFor(a netip.Addr) [6]byte {
	b := a.AsSlice()
	tail := b[len(b)-4:]
	kind := byte(0x42)
	if a.Is6() {
		kind = 0x43
	}
	return [6]byte{0x02, kind, tail[0], tail[1], tail[2], tail[3]}
}

// ParseMAC parses six hexadecimal bytes with colons or hyphens between them. It
// refuses multicast addresses and the zero address, which no interface can have.
func ParseMAC(s string) (mac [6]byte, err error) {
	if len(s) != 17 || !parseHexBytes(s, &mac) {
		return mac, fmt.Errorf("MAC address %q: want six hexadecimal bytes like 02:42:ac:11:00:02: %w", s, spec.ErrInvalid)
	}
	if mac[0]&1 != 0 || mac == [6]byte{} {
		return mac, fmt.Errorf("MAC address %q: multicast or zero: %w", s, spec.ErrInvalid)
	}
	return mac, nil
}

func parseHexBytes(s string, mac *[6]byte) bool {
	sep := s[2]
	if sep != ':' && sep != '-' {
		return false
	}
	for i := range mac {
		hi, lo := unhex(s[3*i]), unhex(s[3*i+1])
		if hi > 15 || lo > 15 || i > 0 && s[3*i-1] != sep {
			return false
		}
		mac[i] = hi<<4 | lo
	}
	return true
}

// unhex returns the value of a hexadecimal digit, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
