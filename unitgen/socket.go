package unitgen

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Listen is one address of a socket unit: D-Bus signature (ss).
type Listen struct {
	Type    string // "Stream" or "Datagram"
	Address string // IP address and port, an IPv6 address in brackets
}

// SocketName returns the name of the socket unit that belongs to a container's
// service.
func SocketName(service string) string {
	return strings.TrimSuffix(service, ".service") + ".socket"
}

// Listens returns the sockets that reserve ports on the host, each of which has a
// host port. There is none for SCTP: a socket unit is of one protocol, and IPv6
// is left out on a host that has none.
func Listens(ports []spec.Port, ipv6 bool) []Listen {
	var out []Listen
	for _, p := range ports {
		kind := map[spec.Proto]string{spec.TCP: "Stream", spec.UDP: "Datagram"}[p.Proto]
		if kind == "" {
			continue
		}
		addrs := []netip.Addr{p.HostIP}
		if !p.HostIP.IsValid() {
			addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		}
		for _, a := range addrs {
			if a.Is4() || ipv6 {
				out = append(out, Listen{kind, netip.AddrPortFrom(a, p.HostPort).String()})
			}
		}
	}
	return out
}

// Socket returns the unit that reserves the published ports of container c. The
// service pulls it in, and it stops when the service does not need it any more,
// but not while that is restarted (BindsTo= would stop it then). Traffic is led
// past it by the firewall, so nothing is ever accepted from it.
//
// The socket of a container that connections start stays, whether that runs or
// not: it starts the service, or the proxy, see Proxy.
//
// An address need not be there yet, as at boot.
func Socket(c spec.Container, listens []Listen) (Unit, error) {
	u, err := socket(c, SocketName(c.UnitName()), listens)
	if err != nil {
		return Unit{}, err
	}
	switch c.Activation.Mode {
	case spec.ActivateNever:
		u.Properties = append(u.Properties, Property{"StopWhenUnneeded", true})
	case spec.ActivateFD:
		u.Install = []string{socketsTarget}
		u.Properties = append(u.Properties, descriptorName(c))
	case spec.ActivateProxy:
		u.Install = []string{socketsTarget}
		u.Properties = append(u.Properties, Property{"Service", ProxyName(c.UnitName())}, descriptorName(c), unlimitedTrigger)
	}
	if c.SurviveSoftReboot {
		u.Properties = survive(u.Properties, "sysinit.target")
	}
	sortProperties(u.Properties)
	return u, nil
}

// socketsTarget is where sockets are enabled.
const socketsTarget = "sockets.target"

// descriptorName is what those who are given the sockets are told that they are
// called. The unit's name, which is the default, may have a colon in it, and that is
// what separates such names.
func descriptorName(c spec.Container) Property { return Property{"FileDescriptorName", c.Name} }

// unlimitedTrigger keeps systemd from closing a socket for good because it has
// started its service too often: that limits itself, see Proxy.
var unlimitedTrigger = Property{"TriggerLimitIntervalUSec", uint64(0)}

// socket returns what all socket units have.
func socket(c spec.Container, name string, listens []Listen) (Unit, error) {
	if err := checkName(c.Name); err != nil {
		return Unit{}, err
	}
	for _, l := range listens {
		if _, err := netip.ParseAddrPort(l.Address); err != nil {
			return Unit{}, fmt.Errorf("unit %s: address %q: %w", name, l.Address, spec.ErrInvalid)
		}
	}
	return Unit{Name: name, ID: c.ID, Properties: []Property{
		{"BindIPv6Only", "ipv6-only"},
		{"CollectMode", "inactive-or-failed"},
		{"Description", printable("Published ports of container " + c.Name)},
		{"Documentation", []string{"man:cleat(1)"}},
		{"FreeBind", true},
		{"Listen", listens},
		{"Slice", or(c.Slice, DefaultSlice)},
	}}, nil
}
