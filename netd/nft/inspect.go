package nft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// Inspect compares the table with what it must have and what it may have, and
// returns what is wrong in words. A table that is not there is wrong if it must
// have anything. Nothing is changed; what an unspoilt table looks like is found
// out in a network namespace of its own.
func (t Table) Inspect(must, may State) ([]string, error) {
	have, err := t.read()
	if err != nil {
		return nil, err
	}
	if have.chains == nil {
		if len(must.elements()) == 0 {
			return nil, nil
		}
		return []string{fmt.Sprintf("table inet %s is missing", t.name)}, nil
	}
	want, err := t.unspoilt()
	if err != nil {
		return nil, err
	}
	found := t.compareChains(have, want)
	return append(found, t.compareElements(have, must, may)...), nil
}

// content is what a table has. In an unspoilt one, chains holds each chain's
// rules as text.
type content struct {
	chains   map[string][]string
	elements map[string]element // by identity
}

func (t Table) compareChains(have, want content) []string {
	var found []string
	for _, name := range sortedNames(want.chains) {
		rules, there := have.chains[name]
		switch {
		case !there && strings.HasPrefix(name, markPrefix):
			return []string{fmt.Sprintf("table inet %s is of another version of cleat", t.name)}
		case !there:
			found = append(found, fmt.Sprintf("table inet %s has no chain %q", t.name, name))
		case !slices.Equal(rules, want.chains[name]):
			found = append(found, fmt.Sprintf("table inet %s: the rules of chain %q are not cleat's", t.name, name))
		}
	}
	return found
}

func (t Table) compareElements(have content, must, may State) []string {
	var found []string
	wanted := map[string]bool{}
	for _, e := range must.elements() {
		wanted[e.identity()] = true
		if _, there := have.elements[e.identity()]; !there {
			found = append(found, fmt.Sprintf("table inet %s has no %s", t.name, e))
		}
	}
	for _, e := range may.elements() {
		wanted[e.identity()] = true
	}
	for _, id := range sortedNames(have.elements) {
		if !wanted[id] {
			found = append(found, fmt.Sprintf("table inet %s has a stale %s", t.name, have.elements[id]))
		}
	}
	return found
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// identity returns a text that two elements have in common only if they are the
// same.
func (e element) identity() string {
	return e.set + " " + hex.EncodeToString(e.Key) + " " + hex.EncodeToString(e.KeyEnd) + " " + hex.EncodeToString(e.Val)
}

// String says what the element is for.
func (e element) String() string {
	switch e.set {
	case mapPorts4, mapAny4, mapPorts6, mapAny6:
		return e.port()
	case setUnrouted:
		return fmt.Sprintf("ban on forwarding %s for others than containers", map[bool]string{true: "IPv4", false: "IPv6"}[e.Key[0] == unix.NFPROTO_IPV4])
	}
	device := strings.TrimRight(string(e.Key[:min(len(e.Key), 16)]), "\x00")
	return fmt.Sprintf("entry for device %s in set %q", device, e.set)
}

// port returns a published port in words. The key begins with the protocol and
// ends with the port on the host; between them may be an address.
func (e element) port() string {
	k, v := e.Key, e.Val
	if len(k) < 8 || len(v) < 8 {
		return fmt.Sprintf("entry in map %q", e.set)
	}
	p := spec.Port{HostPort: binary.BigEndian.Uint16(k[len(k)-4:])}
	for _, proto := range []spec.Proto{spec.TCP, spec.UDP, spec.SCTP} {
		if proto.Number() == k[0] {
			p.Proto = proto
		}
	}
	p.HostIP, _ = netip.AddrFromSlice(k[4 : len(k)-4])
	to, _ := netip.AddrFromSlice(v[:len(v)-4])
	p.ContainerPort = binary.BigEndian.Uint16(v[len(v)-4:])
	return fmt.Sprintf("port %s to %s", p, to)
}

// unspoilt returns the content of a table that has just been made.
func (t Table) unspoilt() (c content, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine, and the namespace with it
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make network namespace: %w", err)
			return
		}
		if err = t.Set(State{}); err == nil {
			c, err = t.read()
		}
	}()
	<-done
	return c, err
}

// read returns what the table has, without the administrator's chain and what the
// kernel itself adds. A table that is not there has no chains.
func (t Table) read() (content, error) {
	b := t.begin()
	if b.err != nil {
		return content{}, b.err
	}
	all, err := b.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return content{}, fmt.Errorf("list chains: %w", err)
	}
	c := content{elements: map[string]element{}}
	for _, chain := range all {
		if chain.Table.Name != t.name || chain.Name == chainUser {
			continue
		}
		if c.chains == nil {
			c.chains = map[string][]string{}
		}
		if c.chains[chain.Name], err = b.readChain(chain); err != nil {
			return content{}, err
		}
	}
	if c.chains == nil {
		return c, nil
	}
	return c, b.readElements(c.elements)
}

// readChain returns a chain's place and rules as text that is good for comparing.
func (b *batch) readChain(chain *nftables.Chain) ([]string, error) {
	lines := []string{""}
	if chain.Hooknum != nil && chain.Priority != nil && chain.Policy != nil {
		lines[0] = fmt.Sprint(chain.Type, " ", *chain.Hooknum, " ", *chain.Priority, " ", *chain.Policy)
	}
	rules, err := b.conn.GetRules(b.table, &nftables.Chain{Table: b.table, Name: chain.Name})
	if err != nil {
		return nil, fmt.Errorf("list rules of chain %s: %w", chain.Name, err)
	}
	for _, r := range rules {
		line := ""
		for _, e := range r.Exprs {
			line += fmt.Sprintf("%T%+v ", e, e)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (b *batch) readElements(into map[string]element) error {
	for _, s := range sets(b.table) {
		if s.Dynamic {
			continue // the packets' own
		}
		es, err := b.conn.GetSetElements(s)
		if errors.Is(err, unix.ENOENT) {
			continue // of another version
		}
		if err != nil {
			return fmt.Errorf("list set %s: %w", s.Name, err)
		}
		for _, e := range es {
			el := element{s.Name, nftables.SetElement{Key: e.Key, KeyEnd: e.KeyEnd, Val: e.Val}}
			into[el.identity()] = el
		}
	}
	return nil
}
