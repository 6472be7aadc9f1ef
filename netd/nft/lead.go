package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ports are where the sockets of both protocols listen.
type Ports struct{ UDP, TCP uint16 }

// Lead leads what is sent to a port of a loopback address to other ports of it, in
// the network namespace of the calling thread, which is a container's own: there is
// nothing else of cleat's in its firewall. Packets are rewritten one by one, so no
// connection has to be tracked for it. Doing so again replaces the ports.
func Lead(addr [4]byte, port uint16, to Ports) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: DefaultTable})
	chain := conn.AddChain(&nftables.Chain{
		Name: "names", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	conn.FlushChain(chain)
	for _, p := range []struct {
		proto    byte
		port     uint16
		checksum uint32 // where it is in the header
	}{{unix.IPPROTO_UDP, to.UDP, 6}, {unix.IPPROTO_TCP, to.TCP, 16}} {
		// Questions and answers both go out by lo.
		const sourcePort, destinationPort = 0, 2
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rewrite(p.proto, addr, destination, destinationPort, port, p.port, p.checksum)})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rewrite(p.proto, addr, source, sourcePort, p.port, port, p.checksum)})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("lead name lookups to the name server: %w", err)
	}
	return nil
}

// rewrite replaces the port at an offset in the transport header of packets that
// have the given protocol, address and port.
func rewrite(proto byte, addr [4]byte, s side, offset uint32, from, to uint16, checksum uint32) []expr.Any {
	bytes := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{proto}},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: 12 + 4*uint32(s), Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: addr[:]},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: bytes(from)},
		&expr.Immediate{Register: reg1, Data: bytes(to)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: checksum,
		},
	}
}
