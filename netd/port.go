package netd

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Proto is a transport protocol whose ports can be published.
type Proto string

// The protocols.
const (
	TCP  Proto = "tcp"
	UDP  Proto = "udp"
	SCTP Proto = "sctp"
)

// Number returns the protocol's number in the IP header, or 0 if it is unknown.
func (p Proto) Number() byte {
	switch p {
	case TCP:
		return 6
	case UDP:
		return 17
	case SCTP:
		return 132
	}
	return 0
}

// Port is one published port of a container.
type Port struct {
	Proto         Proto      `json:"proto"`
	HostIP        netip.Addr `json:"host_ip,omitzero"`         // zero means every address of the host, in both families
	HostPort      uint16     `json:"host_port,omitempty"`      // 0 means one that Assign chooses
	HostPortLast  uint16     `json:"host_port_last,omitempty"` // Assign chooses from HostPort to here; 0 means HostPort alone
	ContainerPort uint16     `json:"container_port"`
}

// String returns the port as -p takes it, for example "127.0.0.1:8080:80/udp".
func (p Port) String() string {
	host := ""
	if p.HostPort != 0 {
		host = strconv.Itoa(int(p.HostPort))
	}
	if p.HostPortLast > p.HostPort {
		host += "-" + strconv.Itoa(int(p.HostPortLast))
	}
	target := fmt.Sprintf("%d/%s", p.ContainerPort, p.Proto)
	switch {
	case p.HostIP.Is6():
		return fmt.Sprintf("[%s]:%s:%s", p.HostIP, host, target)
	case p.HostIP.IsValid():
		return fmt.Sprintf("%s:%s:%s", p.HostIP, host, target)
	case host == "":
		return target
	}
	return host + ":" + target
}

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
	return p.expand(first, last, hostFirst, hostLast)
}

// expand returns p for each port of a range in the container. A range on the
// host goes in step with it, or is one to choose from for a single port.
func (p Port) expand(first, last, hostFirst, hostLast int) ([]Port, error) {
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

// Overlaps reports whether both ports claim the same port on the host. Both
// have to be assigned, see Assign.
func (p Port) Overlaps(q Port) bool {
	if p.Proto != q.Proto || p.HostPort != q.HostPort {
		return false
	}
	return p.HostIP == q.HostIP || covers(p.HostIP, q.HostIP) || covers(q.HostIP, p.HostIP)
}

// covers reports whether publishing on all claims what one is.
func covers(all, one netip.Addr) bool {
	return !all.IsValid() || all.IsUnspecified() && one.IsValid() && all.Is4() == one.Is4()
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
