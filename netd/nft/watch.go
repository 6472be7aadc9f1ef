package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Group is the multicast group of nfnetlink(7) in which the kernel tells of every
// change of nftables.
const Group = unix.NFNLGRP_NFTABLES

// Watch prepares fd, a socket of nfnetlink that is in Group, to say when somebody
// may have taken rules away: it becomes deaf to all but deletions other than of
// elements, so that what containers do at their start and end is not heard, and
// what it has heard so far is dropped. It returns how many messages those were.
//
// The kernel tells of a transaction in one datagram or several, and the filter
// sees the beginning of each. That is enough to notice a flush: it begins with
// the deletion of rules, sets, chains or tables.
func Watch(fd int) (heard int, err error) {
	filter := deletions()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return 0, fmt.Errorf("set filter: %w", err)
	}
	buf := make([]byte, 1)
	for {
		_, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return heard, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil && !errors.Is(err, unix.ENOBUFS): // that some were lost is as good as one
			return heard, fmt.Errorf("receive: %w", err)
		}
		heard++
	}
}

// deletions returns a program of socket filtering, see socket(7), that lets
// messages through whose first one deletes something larger than an element.
func deletions() []unix.SockFilter {
	kinds := []uint16{unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELOBJ, unix.NFT_MSG_DELFLOWTABLE}
	const typeOffset = 4 // in struct nlmsghdr
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeOffset}}
	for i, kind := range kinds {
		var host [2]byte // what the filter loads is turned round as if it came from a wire
		binary.NativeEndian.PutUint16(host[:], unix.NFNL_SUBSYS_NFTABLES<<8|kind)
		prog = append(prog, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(binary.BigEndian.Uint16(host[:])),
			Jt: uint8(len(kinds) - i),
		})
	}
	const all = 0xffffffff
	return append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: all})
}

// Intact reports whether the table has as many rules in each chain as it should.
// It is cheap; Inspect looks closer.
func (t Table) Intact() (bool, error) {
	want := t.begin()
	want.build(nil) // and not committed
	if want.err != nil {
		return false, want.err
	}
	b := t.begin()
	for name, n := range want.rules {
		rules, err := b.conn.GetRules(b.table, &nftables.Chain{Table: b.table, Name: name})
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("list rules of chain %s: %w", name, err)
		}
		if len(rules) != n {
			return false, nil
		}
	}
	return t.current()
}
