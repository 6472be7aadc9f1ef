package netd

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Pool is address space from which networks without a given subnet get one.
type Pool struct {
	Base netip.Prefix // for example 172.16.0.0/12
	Bits int          // prefix length of each network's subnet, for example 16
}

// DefaultPools returns Docker's IPv4 pools: 172.17.0.0/16 to 172.31.0.0/16,
// then 192.168.0.0/16 in sixteen parts.
func DefaultPools() []Pool {
	pools := make([]Pool, 0, 16)
	for i := byte(17); i < 32; i++ {
		pools = append(pools, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i}), 16), 16})
	}
	return append(pools, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16), 20})
}

// Request is what the user asked of a new network.
type Request struct {
	ID         string            // required: 64 hex digits, unused so far
	Name       string            // required
	Driver     string            // "" means DriverBridge
	Subnets    []Subnet          // zero Prefix: from the pool; zero Gateway: the first address of Range or Prefix
	IPv6       bool              // an IPv6 subnet, derived from the host's and the network's ids unless Subnets has one
	NoIPv4     bool              // no IPv4 subnet; then IPv6 has to be set
	Internal   bool              // no way out
	Attachable bool              // means nothing
	Labels     map[string]string // kept as they are
	Options    map[string]string // of the driver, see option
	Created    time.Time         // when this happens
}

// Surroundings is what a new network has to get along with.
type Surroundings struct {
	Networks []Network      // all that exist
	Routes   []netip.Prefix // of the host, without default routes: subnets from the pool avoid them
	Pools    []Pool         // IPv4; nil means DefaultPools
	Place    string         // "" for the host's ordinary state directory, else a word for the one that the network is of
	HostID   string         // for example the content of /etc/machine-id: IPv6 subnets are derived from it
}

// Plan makes the network that the user asked for, or says why there cannot be
// one: the error wraps spec.ErrInvalid, or spec.ErrConflict if the request
// collides with an existing network, or spec.ErrExists if its name is taken.
func Plan(req Request, host Surroundings) (Network, error) {
	n := Network{
		Version: 1, ID: req.ID, Name: req.Name, Created: req.Created, Place: host.Place, Driver: req.Driver, Device: deviceName(req),
		Internal: req.Internal, Attachable: req.Attachable, Labels: req.Labels, Options: req.Options,
	}
	if err := CheckName(n.Name); err != nil {
		return Network{}, err
	}
	if n.Driver == "" {
		n.Driver = DriverBridge
	}
	if err := n.checkDriver(); err != nil {
		return Network{}, err
	}
	if n.Driver == DriverMacvlan {
		n.Device, n.Mode = "", macvlanModes[0]
	}
	for k, v := range req.Options {
		apply := n.option
		if n.Driver == DriverMacvlan {
			apply = n.macvlanOption
		}
		if err := apply(k, v); err != nil {
			return Network{}, fmt.Errorf("network %q: option %s=%s: %w", n.Name, k, v, err)
		}
	}
	if err := n.needsSubnets(req); err != nil {
		return Network{}, fmt.Errorf("network %q: %w", n.Name, err)
	}
	if err := n.addressing(req, host); err != nil {
		return Network{}, fmt.Errorf("network %q: %w", n.Name, err)
	}
	if err := n.Check(); err != nil {
		return Network{}, err
	}
	return n, n.collides(host.Networks)
}

// deviceName returns the name of the bridge if no option says otherwise.
func deviceName(req Request) string {
	if req.Name == DefaultName {
		return DefaultDevice
	}
	return "cl-" + spec.ShortID(req.ID)
}

// option applies one -o of the bridge driver. The keys are Docker's.
func (n *Network) option(key, value string) (err error) {
	var on bool
	switch key {
	case "com.docker.network.bridge.name":
		n.Device = value
	case "com.docker.network.driver.mtu":
		if n.MTU, err = strconv.Atoi(value); err == nil {
			err = n.checkMTU()
		}
	case "com.docker.network.bridge.enable_icc":
		on, err = strconv.ParseBool(value)
		n.Isolated = !on
	case "com.docker.network.bridge.enable_ip_masquerade":
		on, err = strconv.ParseBool(value)
		n.NoMasq = !on
	case "com.docker.network.bridge.host_binding_ipv4":
		n.HostIP, err = netip.ParseAddr(value)
	case "com.docker.network.bridge.default_bridge":
	default:
		return fmt.Errorf("unknown key: %w", spec.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", spec.ErrInvalid, err)
	}
	return nil
}

// addressing fills in the subnets.
func (n *Network) addressing(req Request, host Surroundings) error {
	var four, six *Subnet
	for _, s := range req.Subnets {
		is6 := s.Prefix.IsValid() && s.Prefix.Addr().Is6() || !s.Prefix.IsValid() && s.Gateway.Is6()
		slot := &four
		if is6 {
			slot = &six
		}
		if *slot != nil {
			return fmt.Errorf("two subnets of one family, %s and %s: %w", (*slot).Prefix, s.Prefix, spec.ErrInvalid)
		}
		*slot = &s
	}
	if six != nil && !req.IPv6 {
		return fmt.Errorf("subnet %s without --ipv6: %w", six.Prefix, spec.ErrInvalid)
	}
	if req.NoIPv4 && (four != nil || !req.IPv6) {
		return fmt.Errorf("without IPv4 it needs --ipv6, and no IPv4 subnet: %w", spec.ErrInvalid)
	}
	if !req.NoIPv4 {
		if four == nil {
			four = &Subnet{}
		}
		if err := four.fill(func() (netip.Prefix, error) { return pick(host) }); err != nil {
			return err
		}
		n.Subnets = append(n.Subnets, *four)
	}
	if !req.IPv6 {
		return nil
	}
	if six == nil {
		six = &Subnet{}
	}
	if err := six.fill(func() (netip.Prefix, error) { return ULA(host, req.ID), nil }); err != nil {
		return err
	}
	n.Subnets = append(n.Subnets, *six)
	return nil
}

func (s *Subnet) fill(choose func() (netip.Prefix, error)) (err error) {
	if !s.Prefix.IsValid() {
		if s.Gateway.IsValid() || s.Range.IsValid() || len(s.Aux) > 0 {
			return fmt.Errorf("gateway, range or auxiliary address without a subnet: %w", spec.ErrInvalid)
		}
		if s.Prefix, err = choose(); err != nil {
			return err
		}
	}
	if err := checkPrefix(s.Prefix); err != nil {
		return err
	}
	if s.Range.IsValid() {
		s.Range = s.Range.Masked()
	}
	if !s.Gateway.IsValid() {
		s.Gateway = s.Prefix.Addr().Next()
	}
	return nil
}

// pick returns the first subnet of the pools that overlaps no network and no
// route of the host.
func pick(host Surroundings) (netip.Prefix, error) {
	pools := host.Pools
	if pools == nil {
		pools = DefaultPools()
	}
	for _, pool := range pools {
		if err := pool.check(); err != nil {
			return netip.Prefix{}, err
		}
		for p := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Bits); pool.Base.Contains(p.Addr()); {
			if !taken(p, host) {
				return p, nil
			}
			next := last(p).Next()
			if !next.IsValid() {
				break
			}
			p = netip.PrefixFrom(next, pool.Bits)
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free subnet: the address pools are used up by networks and the host's routes: %w", spec.ErrConflict)
}

func (p Pool) check() error {
	if !p.Base.IsValid() || !p.Base.Addr().Is4() || p.Bits < p.Base.Bits() || p.Bits > 30 {
		return fmt.Errorf("address pool %s in parts of /%d: want IPv4, parts from /%d to /30: %w", p.Base, p.Bits, p.Base.Bits(), spec.ErrInvalid)
	}
	return nil
}

func taken(p netip.Prefix, host Surroundings) bool {
	for _, r := range host.Routes {
		if r.Bits() > 0 && r.Overlaps(p) {
			return true
		}
	}
	for i := range host.Networks {
		for _, s := range host.Networks[i].Subnets {
			if s.Prefix.Overlaps(p) {
				return true
			}
		}
	}
	return false
}

// ULA returns the /64 of unique local addresses (RFC 4193) that a network gets:
// the same host and network always have the same one. Forty bits come of the
// host's id and sixteen of the network's; if those are taken, the next are.
func ULA(host Surroundings, networkID string) netip.Prefix {
	var b [16]byte
	var global, subnet [8]byte
	binary.BigEndian.PutUint64(global[:], hash("host", host.HostID))
	binary.BigEndian.PutUint64(subnet[:], hash("network", networkID))
	b[0] = 0xfd
	copy(b[1:6], global[:])
	copy(b[6:8], subnet[:])
	p := netip.PrefixFrom(netip.AddrFrom16(b), 64)
	for range 1 << 16 {
		if !taken(p, host) {
			break
		}
		binary.BigEndian.PutUint16(b[6:8], binary.BigEndian.Uint16(b[6:8])+1)
		p = netip.PrefixFrom(netip.AddrFrom16(b), 64)
	}
	return p
}

func hash(kind, s string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "cleat %s %s", kind, s)
	return h.Sum64()
}

// collides returns an error if another network is in the way.
func (n *Network) collides(others []Network) error {
	for i := range others {
		o := &others[i]
		if o.Name == n.Name {
			return fmt.Errorf("network %q: %w", n.Name, spec.ErrExists)
		}
		if n.Parent != "" && o.Parent == n.Parent {
			return fmt.Errorf("network %q: parent %s is that of network %q: %w", n.Name, n.Parent, o.Name, spec.ErrConflict)
		}
		if n.Device != "" && o.Device == n.Device {
			return fmt.Errorf("network %q: device %s belongs to network %q: %w", n.Name, n.Device, o.Name, spec.ErrConflict)
		}
		for _, s := range n.Subnets {
			for _, t := range o.Subnets {
				if s.Prefix.Overlaps(t.Prefix) {
					return fmt.Errorf("network %q: subnet %s overlaps %s of network %q: %w", n.Name, s.Prefix, t.Prefix, o.Name, spec.ErrConflict)
				}
			}
		}
	}
	return nil
}
