package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// The names of the sets and maps.
const (
	setBridges  = "bridges"  // every bridge of a network
	setPairs    = "pairs"    // each bridge twice: from it and to it
	setInternal = "internal" // bridges of networks without a way out
	setClosed   = "closed"   // bridges whose containers do not reach each other
	setMasq     = "masq"     // bridges whose traffic leaves with the host's address
	setLocal4   = "local4"   // each bridge with its subnet
	setLocal6   = "local6"
	setUnrouted = "unrouted" // families in which only what has to do with containers is forwarded
	setLoops    = "loops"    // devices, each twice, that something came in by and goes out again
	mapPorts4   = "ports4"   // ports on one address
	mapAny4     = "any4"     // ports on every address of the family
	mapPorts6   = "ports6"
	mapAny6     = "any6"
)

// sets returns the sets and maps in the order in which they are made. The ids
// tell them apart within a transaction.
func sets(table *nftables.Table) []*nftables.Set {
	ifname, proto, port := nftables.TypeIFName, nftables.TypeInetProto, nftables.TypeInetService
	v4, v6 := nftables.TypeIPAddr, nftables.TypeIP6Addr
	cat := nftables.MustConcatSetType // panics on more than five types only
	all := []*nftables.Set{
		{Name: setBridges, KeyType: ifname},
		{Name: setPairs, KeyType: cat(ifname, ifname)},
		{Name: setInternal, KeyType: ifname},
		{Name: setClosed, KeyType: ifname},
		{Name: setMasq, KeyType: ifname},
		{Name: setLocal4, KeyType: cat(ifname, v4), Interval: true, Concatenation: true},
		{Name: setLocal6, KeyType: cat(ifname, v6), Interval: true, Concatenation: true},
		{Name: setUnrouted, KeyType: nftables.TypeNFProto},
		{Name: setLoops, KeyType: cat(ifname, ifname), Dynamic: true, Size: 65535},
		{Name: mapPorts4, KeyType: cat(proto, v4, port), DataType: cat(v4, port), IsMap: true},
		{Name: mapAny4, KeyType: cat(proto, port), DataType: cat(v4, port), IsMap: true},
		{Name: mapPorts6, KeyType: cat(proto, v6, port), DataType: cat(v6, port), IsMap: true},
		{Name: mapAny6, KeyType: cat(proto, port), DataType: cat(v6, port), IsMap: true},
	}
	for i, s := range all {
		s.Table, s.ID = table, uint32(i+1)
		if s.KeyType.Name == ifname.Name {
			s.KeyByteOrder = binaryutil.NativeEndian // without it, nft lists the names as ""
		}
	}
	return all
}

// element is one element of the set or map called set.
type element struct {
	set string
	nftables.SetElement
}

// elementsOf returns a network's elements. With all, it returns those that it
// could have, for when it is removed.
func elementsOf(n Network, all bool) []element {
	if n.Device == "" {
		return nil // of a driver that needs no firewall
	}
	name := ifname(n.Device)
	one := nftables.SetElement{Key: name}
	es := []element{{setBridges, one}, {setPairs, nftables.SetElement{Key: join(name, name)}}}
	for _, p := range n.Subnets {
		set := setLocal4
		if p.Addr().Is6() {
			set = setLocal6
		}
		es = append(es, element{set, nftables.SetElement{Key: join(name, p.Masked().Addr().AsSlice()), KeyEnd: join(name, last(p))}})
	}
	if n.Internal || all {
		es = append(es, element{setInternal, one})
	}
	if n.Isolated || all {
		es = append(es, element{setClosed, one})
	}
	if !n.Internal && !n.NoMasq || all {
		es = append(es, element{setMasq, one})
	}
	return es
}

func join(a, b []byte) []byte { return append(append(make([]byte, 0, len(a)+len(b)), a...), b...) }

// last returns the highest address of a prefix.
func last(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// ifname returns a device's name as the kernel compares it, filled up with zeros.
func ifname(device string) []byte {
	b := make([]byte, 16)
	copy(b[:15], device)
	return b
}

// check refuses what would give an element without a meaning.
func (m Mapping) check() error {
	p := m.Port
	if p.Proto.Number() == 0 || p.HostPort == 0 || p.HostPortLast > p.HostPort || p.ContainerPort == 0 {
		return fmt.Errorf("port %s is not assigned: %w", p, spec.ErrInvalid)
	}
	if m.Addr4.IsValid() && !m.Addr4.Is4() || m.Addr6.IsValid() && !m.Addr6.Is6() {
		return fmt.Errorf("port %s: %s and %s are of the wrong family: %w", p, m.Addr4, m.Addr6, spec.ErrInvalid)
	}
	return nil
}

// elements returns what publishes the port: one element for each family.
func (m Mapping) elements() []element {
	var es []element
	for _, f := range []struct {
		to          netip.Addr
		is4         bool
		ports, anys string
	}{{m.Addr4, true, mapPorts4, mapAny4}, {m.Addr6, false, mapPorts6, mapAny6}} {
		ip := m.Port.HostIP
		if !f.to.IsValid() || ip.IsValid() && ip.Is4() != f.is4 {
			continue
		}
		e := element{f.anys, nftables.SetElement{Key: field(m.Port.Proto.Number()), Val: f.to.AsSlice()}}
		if ip.IsValid() && !ip.IsUnspecified() {
			e.set = f.ports
			e.Key = append(e.Key, ip.AsSlice()...)
		}
		e.Key = append(e.Key, portField(m.Port.HostPort)...)
		e.Val = append(e.Val, portField(m.Port.ContainerPort)...)
		es = append(es, e)
	}
	return es
}

// field and portField fill a part of a concatenation up to four bytes, as the
// kernel's registers are.
func field(b byte) []byte { return []byte{b, 0, 0, 0} }

func portField(p uint16) []byte {
	b := make([]byte, 4)
	binary.BigEndian.PutUint16(b, p)
	return b
}

// maxElements bounds the elements in one message: the length of their list is
// told in sixteen bits, and one takes at most 84 bytes.
const maxElements = 500

func (b *batch) add(s State) {
	for _, m := range s.Ports {
		b.note(m.check())
	}
	b.eachSet(s.elements(), b.conn.SetAddElements)
}

func (b *batch) remove(s State) { b.removeElements(s.elements()) }

// elements returns all that s consists of.
func (s State) elements() []element {
	var es []element
	for _, n := range s.Networks {
		es = append(es, elementsOf(n, false)...)
	}
	for _, m := range s.Ports {
		es = append(es, m.elements()...)
	}
	if s.Unrouted4 {
		es = append(es, element{setUnrouted, nftables.SetElement{Key: []byte{unix.NFPROTO_IPV4}}})
	}
	if s.Unrouted6 {
		es = append(es, element{setUnrouted, nftables.SetElement{Key: []byte{unix.NFPROTO_IPV6}}})
	}
	return es
}

func (b *batch) removeElements(es []element) {
	b.eachSet(es, b.conn.SetDeleteElements)
}

// eachSet hands the elements to do, sorted by set and in portions.
func (b *batch) eachSet(es []element, do func(*nftables.Set, []nftables.SetElement) error) {
	for _, set := range sets(b.table) {
		var of []nftables.SetElement
		for _, e := range es {
			if e.set == set.Name {
				of = append(of, e.SetElement)
			}
		}
		for len(of) > 0 {
			n := min(len(of), maxElements)
			b.note(do(set, of[:n]))
			of = of[n:]
		}
	}
}

func (b *batch) flushSets() {
	for _, s := range sets(b.table) {
		b.conn.FlushSet(s)
	}
}
