// Package dns answers for the names of containers, and passes everything else on
// to the host's name servers. It opens no listening socket: those come from the
// containers' own network namespaces, so that no port of the host is taken.
package dns

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Entry is one container on one network.
type Entry struct {
	Names   []string     // by which it is known; the first is what its addresses lead back to
	Network string       // each name is known with this behind a dot, too; "" if not
	Addrs   []netip.Addr // of both families
}

// Records are the names that a container can look up. They do not change and may
// be used by many at a time; new ones are made when a container comes or goes.
type Records struct {
	addrs map[string][]netip.Addr // by name, lower case, without final dot
	names map[netip.Addr]string
	parts []*Records // asked in turn for what is not here
}

// Join returns records that hold what parts hold, without a copy of it. Where
// several parts have a name, the first with an answer is asked alone.
func Join(parts ...*Records) *Records { return &Records{parts: parts} }

// NewRecords makes the records of a view: all containers on the networks of the
// one that asks. A name that several containers have leads to all of them.
func NewRecords(entries []Entry) *Records {
	r := &Records{addrs: map[string][]netip.Addr{}, names: map[netip.Addr]string{}}
	for _, e := range entries {
		for i, name := range e.Names {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			r.addrs[name] = append(r.addrs[name], e.Addrs...)
			if e.Network != "" {
				name += "." + strings.ToLower(e.Network)
				r.addrs[name] = append(r.addrs[name], e.Addrs...)
			}
			for _, a := range e.Addrs {
				if i == 0 {
					r.names[a] = name
				}
			}
		}
	}
	return r
}

// lookup returns the bodies of the answer to a question, and whether the
// question is ours to answer: a name of ours without an address of the family
// that was asked for has an empty answer.
func (r *Records) lookup(q dnsmessage.Question) (answer []dnsmessage.ResourceBody, ours bool) {
	if q.Class != dnsmessage.ClassINET {
		return nil, false
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if q.Type != dnsmessage.TypePTR {
		return r.forward(name, q.Type)
	}
	if a, ok := reverse(name); ok {
		return r.pointer(a)
	}
	return nil, false
}

func (r *Records) forward(name string, t dnsmessage.Type) (answer []dnsmessage.ResourceBody, ours bool) {
	if r == nil {
		return nil, false
	}
	addrs, ours := r.addrs[name]
	for _, a := range addrs {
		switch {
		case a.Is4() && (t == dnsmessage.TypeA || t == dnsmessage.TypeALL):
			answer = append(answer, &dnsmessage.AResource{A: a.As4()})
		case a.Is6() && (t == dnsmessage.TypeAAAA || t == dnsmessage.TypeALL):
			answer = append(answer, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	for _, p := range r.parts {
		if len(answer) > 0 {
			break
		}
		found, has := p.forward(name, t)
		answer, ours = found, ours || has
	}
	return answer, ours
}

func (r *Records) pointer(a netip.Addr) (answer []dnsmessage.ResourceBody, ours bool) {
	if r == nil {
		return nil, false
	}
	if target := r.names[a]; target != "" {
		n, err := dnsmessage.NewName(target + ".")
		return []dnsmessage.ResourceBody{&dnsmessage.PTRResource{PTR: n}}, err == nil
	}
	for _, p := range r.parts {
		if answer, ours := p.pointer(a); ours {
			return answer, ours
		}
	}
	return nil, false
}

// reverse parses a name like 2.0.17.172.in-addr.arpa, or its counterpart of 32
// hexadecimal digits in ip6.arpa (RFC 3596, section 2.5).
func reverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reverseParts(rest, 4, 10, 8)
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return reverseParts(rest, 32, 16, 4)
	}
	return netip.Addr{}, false
}

// reverseParts puts count parts of the given number of bits together, the last
// of which comes first.
func reverseParts(s string, count, base, bits int) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != count {
		return netip.Addr{}, false
	}
	b := make([]byte, count*bits/8)
	for i, p := range parts {
		n, err := strconv.ParseUint(p, base, bits)
		if err != nil || len(p) > 1 && p[0] == '0' || base == 16 && len(p) != 1 {
			return netip.Addr{}, false
		}
		at := (count - 1 - i) * bits
		b[at/8] |= byte(n << (8 - bits - at%8))
	}
	return netip.AddrFromSlice(b)
}
