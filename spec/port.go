package spec

import (
	"fmt"
	"net/netip"
	"strconv"
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
	HostPort      uint16     `json:"host_port,omitempty"`      // 0 means one that is chosen at each start
	HostPortLast  uint16     `json:"host_port_last,omitempty"` // the choice is from HostPort to here; 0 means HostPort alone
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

// Overlaps reports whether both ports claim the same port on the host. Both
// have to have a host port.
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
