package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
)

// A table is marked by an empty chain that says which version of the rules it
// has. Whoever changes the rules counts this up; whoever changes the type of a
// set gives it a new name too.
const (
	markPrefix = "version-"
	mark       = markPrefix + "2"
)

// chainUser is the administrator's: it is made and never flushed.
const chainUser = "user"

// build puts the fixed part into the transaction. Everything in it may be there
// already, chains are emptied before they are filled: two who build at a time
// come to the same result.
func (b *batch) build(staleMarks []string) {
	b.conn.AddTable(b.table)
	for _, s := range sets(b.table) {
		b.note(b.conn.AddSet(s, nil))
	}
	b.conn.AddChain(&nftables.Chain{Table: b.table, Name: chainUser})
	for _, name := range staleMarks {
		b.conn.DelChain(&nftables.Chain{Table: b.table, Name: name})
	}
	b.publish(b.chain("publish", "", 0, 0))
	b.strangers(b.chain("strangers", "", 0, 0))
	b.guard(b.chain("guard", nftables.ChainTypeFilter, *nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw))
	b.prerouting(b.chain("prerouting", nftables.ChainTypeNAT, *nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest))
	b.output(b.chain("output", nftables.ChainTypeNAT, *nftables.ChainHookOutput, *nftables.ChainPriorityNATDest))
	b.forward(b.chain("forward", nftables.ChainTypeFilter, *nftables.ChainHookForward, *nftables.ChainPriorityFilter))
	b.postrouting(b.chain("postrouting", nftables.ChainTypeNAT, *nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource))
	b.conn.AddChain(&nftables.Chain{Table: b.table, Name: mark})
}

// chain adds a chain and empties it. Without a type it is one to jump to.
func (b *batch) chain(name string, kind nftables.ChainType, hook nftables.ChainHook, prio nftables.ChainPriority) *nftables.Chain {
	c := &nftables.Chain{Table: b.table, Name: name}
	if kind != "" {
		accept := nftables.ChainPolicyAccept
		c.Type, c.Hooknum, c.Priority, c.Policy = kind, &hook, &prio, &accept
	}
	b.conn.AddChain(c)
	b.conn.FlushChain(c)
	return c
}

func (b *batch) rule(c *nftables.Chain, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: b.table, Chain: c}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	b.conn.AddRule(r)
	b.rules[c.Name]++
}

// guard drops what pretends to come from the host itself. The bridges let
// loopback addresses through (route_localnet), so that connections to 127.0.0.1
// can be led to containers; without this rule a container could reach what
// listens on the host's 127.0.0.1 (CVE-2020-8558).
func (b *batch) guard(c *nftables.Chain) {
	b.rule(c, in(setBridges, true), address(loopback4(), source), verdict(expr.VerdictDrop))
	b.rule(c, in(setBridges, true), address(loopback4(), destination), verdict(expr.VerdictDrop))
}

// prerouting leads connections from outside and from containers to published
// ports. Those to 127.0.0.0/8 are none of them: what comes from a wire with such
// an address was made up to reach a port that is published on 127.0.0.1 alone,
// and would get there because translation comes before the kernel's own check.
func (b *batch) prerouting(c *nftables.Chain) {
	b.rule(c, address(loopback4(), destination), verdict(expr.VerdictReturn))
	b.rule(c, toHost(), jump("publish"))
}

// output leads the host's own connections to published ports, on whichever of
// its addresses.
func (b *batch) output(c *nftables.Chain) {
	b.rule(c, toHost(), jump("publish"))
}

// publish looks the port up, first on the address and then on any.
func (b *batch) publish(c *nftables.Chain) {
	b.rule(c, family(unix.NFPROTO_IPV4), portKey(4), dnat(mapPorts4, unix.NFPROTO_IPV4, 1))
	b.rule(c, family(unix.NFPROTO_IPV4), portKey(0), dnat(mapAny4, unix.NFPROTO_IPV4, 1))
	b.rule(c, family(unix.NFPROTO_IPV6), portKey(16), dnat(mapPorts6, unix.NFPROTO_IPV6, 4))
	b.rule(c, family(unix.NFPROTO_IPV6), portKey(0), dnat(mapAny6, unix.NFPROTO_IPV6, 4))
}

// strangers decides what has to do with no container of ours. Where the host
// forwards packets for cleat's sake alone, it is not to become a router between
// its other devices. What leaves by the device that it came in by is let through
// all the same: where br_netfilter is loaded, the frames that somebody's bridge
// passes on look like that. Two names cannot be compared, so the packet itself
// adds what is looked for: its device, twice.
func (b *batch) strangers(c *nftables.Chain) {
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	b.rule(c, ofFamily(setUnrouted), addLoop())
	b.rule(c, inOut(setLoops), accept)
	b.rule(c, ofFamily(setUnrouted), notOurs(expr.MetaKeyIIFGROUP), notOurs(expr.MetaKeyOIFGROUP), drop)
	b.rule(c, accept)
}

// forward decides what passes between networks and the world. In words: what has
// to do with no container is not ours; the administrator comes first; neighbours
// may talk unless their network forbids it; nothing enters or leaves an internal
// network; connections once allowed go on; published ports may be used by
// everybody; nothing else gets to a container from outside its network. What is
// left is a container's own connection to the outside.
func (b *batch) forward(c *nftables.Chain) {
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	b.rule(c, in(setBridges, false), out(setBridges, false), jump("strangers"))
	b.rule(c, jump(chainUser))
	b.rule(c, inOut(setPairs), in(setClosed, false), accept)
	b.rule(c, in(setInternal, true), drop)
	b.rule(c, out(setInternal, true), drop)
	b.rule(c, connState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	b.rule(c, connState(expr.CtStateBitINVALID), drop)
	b.rule(c, translated(), accept)
	b.rule(c, out(setBridges, true), drop)
}

// postrouting gives the host's address to what would not be answered otherwise:
// containers that reach a neighbour or themselves by a published port, the
// host's own connections from a loopback address, and what leaves for outside.
// The first are known by their subnet: where br_netfilter translates on the
// bridge already, there is no device that they came in by.
func (b *batch) postrouting(c *nftables.Chain) {
	masq := []expr.Any{&expr.Masq{}}
	b.rule(c, outFrom(setLocal4, 4), translated(), masq)
	b.rule(c, outFrom(setLocal6, 16), translated(), masq)
	b.rule(c, out(setBridges, true), address(loopback4(), source), masq)
	b.rule(c, out(setBridges, true), address(loopback6(), source), masq)
	b.rule(c, in(setMasq, true), out(setBridges, false), masq)
}

func loopback4() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) }
func loopback6() netip.Prefix { return netip.PrefixFrom(netip.IPv6Loopback(), 128) }

// The registers: reg1 and reg2 are sixteen bytes each and lie one after the
// other; word(0) is the first four bytes of reg1, and so on.
const (
	reg1 = unix.NFT_REG_1
	reg2 = unix.NFT_REG_2
)

func word(i uint32) uint32 { return unix.NFT_REG32_00 + i }

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// in matches packets that came in by a device of the set, or by none of it.
func in(set string, member bool) []expr.Any { return device(expr.MetaKeyIIFNAME, set, member) }

// out matches packets that go out by a device of the set, or by none of it.
func out(set string, member bool) []expr.Any { return device(expr.MetaKeyOIFNAME, set, member) }

func device(key expr.MetaKey, set string, member bool) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set, Invert: !member},
	}
}

// inOut matches packets whose devices, taken together, are in the set.
func inOut(set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg2},
		&expr.Lookup{SourceRegister: reg1, SetName: set},
	}
}

// outFrom matches packets whose outgoing device and source address, of the
// given size, are in the set together.
func outFrom(set string, addrBytes uint32) []expr.Any {
	proto, offset := byte(unix.NFPROTO_IPV4), uint32(12)
	if addrBytes == 16 {
		proto, offset = unix.NFPROTO_IPV6, 8
	}
	return append(family(proto),
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1},
		&expr.Payload{DestRegister: reg2, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addrBytes},
		&expr.Lookup{SourceRegister: reg1, SetName: set})
}

// ofFamily matches packets of a family that is in the set.
func ofFamily(set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set},
	}
}

// addLoop adds the device that the packet came in by, twice, to its set.
func addLoop() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg2},
		&expr.Dynset{SrcRegKey: reg1, SetName: setLoops, Operation: unix.NFT_DYNSET_OP_ADD},
	}
}

// notOurs matches packets whose device, in or out, is no bridge of cleat's, be it
// one of other state directories.
func notOurs(group expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: group, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(netd.DeviceGroup)},
	}
}

func family(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{proto}},
	}
}

type side int

const (
	source side = iota
	destination
)

// address matches packets whose source or destination is in the prefix, whose
// length is a multiple of eight.
func address(p netip.Prefix, s side) []expr.Any {
	proto, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if p.Addr().Is6() {
		proto, offset, size = unix.NFPROTO_IPV6, 8, 16
	}
	offset += uint32(s) * size
	n := uint32(p.Bits() / 8)
	return append(family(proto),
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: p.Addr().AsSlice()[:n]})
}

// toHost matches packets to any address of the host's own.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: native(unix.RTN_LOCAL)},
	}
}

// connState matches packets of connections in one of the states.
func connState(bits uint32) []expr.Any { return connBits(expr.CtKeySTATE, bits) }

// translated matches packets of connections whose destination was translated:
// IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
func translated() []expr.Any { return connBits(expr.CtKeySTATUS, 1<<5) }

func connBits(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(0)},
	}
}

// portKey loads protocol, destination address of the given size unless that is
// 0, and destination port. All three transports have the port at the same place.
func portKey(addrBytes uint32) []expr.Any {
	key := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word(0)}}
	if addrBytes > 0 {
		offset := uint32(16)
		if addrBytes == 16 {
			offset = 24
		}
		key = append(key, &expr.Payload{DestRegister: word(1), Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addrBytes})
	}
	return append(key, &expr.Payload{DestRegister: word(1 + addrBytes/4), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// dnat looks the key up in a map and translates to what is found there: an
// address of the given number of words, and a port.
func dnat(name string, family uint32, words uint32) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: word(0), DestRegister: word(0), IsDestRegSet: true, SetName: name},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: word(0), RegProtoMin: word(words)},
	}
}

func native(v uint32) []byte {
	b := make([]byte, 4)
	binary.NativeEndian.PutUint32(b, v)
	return b
}
