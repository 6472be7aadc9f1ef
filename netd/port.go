package netd

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Proto is a transport protocol whose ports can be published.
type Proto = spec.Proto

// The protocols.
const (
	TCP  = spec.TCP
	UDP  = spec.UDP
	SCTP = spec.SCTP
)

// Port is one published port of a container.
type Port = spec.Port

// maxPorts is how many ports one -p may stand for: all there are.
const maxPorts = 1 << 16

// ParsePorts parses one -p in Docker's syntax, [[IP:][PORTS]:]PORTS[/PROTO],
// where PORTS is a number or a range, PROTO is tcp (which is the default), udp
// or sctp, and an IPv6 address stands in brackets. 0.0.0.0 and :: stay what
// they are, the whole of one family. Errors wrap spec.ErrInvalid.
func ParsePorts(s string) ([]Port, error) {
	ports, err := parsePorts(s)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w: %w", s, err, spec.ErrInvalid)
	}
	return ports, nil
}

func parsePorts(s string) ([]Port, error) {
	rest, proto, given := strings.Cut(s, "/")
	p := Port{Proto: Proto(strings.ToLower(proto))}
	if !given {
		p.Proto = TCP
	}
	if p.Proto.Number() == 0 {
		return nil, fmt.Errorf("protocol is %q, want tcp, udp or sctp", proto)
	}
	rest, container := cutLast(rest)
	ip, host := cutLast(rest)
	var err error
	if ip != "" {
		if p.HostIP, err = parseHostIP(ip); err != nil {
			return nil, err
		}
	}
	first, last, err := parseRange(container)
	if err != nil {
		return nil, fmt.Errorf("in the container: %w", err)
	}
	if first == 0 {
		return nil, fmt.Errorf("in the container: 0 is not a port")
	}
	var hostFirst, hostLast int
	if host != "" {
		if hostFirst, hostLast, err = parseRange(host); err != nil {
			return nil, fmt.Errorf("on the host: %w", err)
		}
	}
	return expand(p, first, last, hostFirst, hostLast)
}

// expand returns p for each port of a range in the container. A range on the
// host goes in step with it, or is one to choose from for a single port.
func expand(p Port, first, last, hostFirst, hostLast int) ([]Port, error) {
	n := last - first + 1
	width := hostLast - hostFirst + 1
	if hostFirst == 0 && hostLast > 0 {
		return nil, fmt.Errorf("on the host: a range cannot begin at 0")
	}
	if hostFirst != 0 && n > 1 && width != n {
		return nil, fmt.Errorf("%d ports in the container, but %d on the host", n, width)
	}
	if n > maxPorts {
		return nil, fmt.Errorf("more than %d ports", maxPorts)
	}
	ports := make([]Port, 0, n)
	for i := range n {
		p.ContainerPort = uint16(first + i)
		if hostFirst != 0 {
			p.HostPort = uint16(hostFirst + i)
		}
		if n == 1 && width > 1 {
			p.HostPortLast = uint16(hostLast)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// cutLast splits s at its last colon outside of brackets.
func cutLast(s string) (before, after string) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		return s[:i], s[i+1:]
	}
	if strings.HasPrefix(s, "[") { // an address and nothing after it: leave it to be an address
		return s, ""
	}
	return "", s
}

func parseHostIP(s string) (netip.Addr, error) {
	inner, bracket := strings.CutPrefix(s, "[")
	if bracket {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return netip.Addr{}, fmt.Errorf("host address %q: no closing bracket", s)
		}
	}
	a, err := netip.ParseAddr(inner)
	if err != nil || a.Is6() != bracket || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("host address %q: want an IPv4 address, or an IPv6 one in brackets", s)
	}
	if a.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("host address %s is multicast", a)
	}
	return a.Unmap(), nil
}

func parseRange(s string) (first, last int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if first, err = parsePort(from); err != nil || !isRange {
		return first, first, err
	}
	if last, err = parsePort(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("range %q runs backwards", s)
	}
	return first, last, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port from 0 to 65535", s)
	}
	return int(n), nil
}

// EphemeralFirst and EphemeralLast bound the ports that Assign chooses from
// when the user leaves the choice: the dynamic ports of RFC 6335.
const (
	EphemeralFirst = 49153
	EphemeralLast  = 65535
)

// Assign returns ports with a host port each. Those that are left open get the
// first of their range for which free says true, beginning at random places
// given by start, any number; ports that overlap each other are an error. Free
// is asked once for each candidate, so it may reserve what it grants. The error
// wraps spec.ErrConflict.
func Assign(ports []Port, start uint, free func(Port) bool) ([]Port, error) {
	out := make([]Port, 0, len(ports))
	clash := func(c Port) bool {
		for _, o := range out {
			if c.Overlaps(o) {
				return true
			}
		}
		return false
	}
	for _, p := range ports {
		first, last := p.HostPort, max(p.HostPort, p.HostPortLast)
		if first == 0 {
			first, last = EphemeralFirst, EphemeralLast
		}
		n := uint(last-first) + 1
		offset := uint(0)
		if p.HostPort == 0 {
			offset = start % n
		}
		found := false
		for i := uint(0); i < n && !found; i++ {
			c := p
			c.HostPort, c.HostPortLast = first+uint16((offset+i)%n), 0
			if found = !clash(c) && free(c); found {
				out = append(out, c)
			}
		}
		if !found {
			return nil, fmt.Errorf("port %s is already allocated: %w", p, spec.ErrConflict)
		}
	}
	return out, nil
}
