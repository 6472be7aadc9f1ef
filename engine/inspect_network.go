package engine

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// inspectNetworks says in Docker's form how c is connected. Addresses and ports
// are those of the run that live is of; without one, open are the ports at which
// connections start c.
func inspectNetworks(c spec.Container, live netd.Live, open []spec.Port) *NetworkSettings {
	s := &NetworkSettings{Ports: map[string][]PortBinding{}, Networks: map[string]*EndpointInspect{}}
	if !onNetworks(c.Network.Mode) && !strings.HasPrefix(c.Network.Mode, "container:") {
		s.Networks[c.Network.Mode] = &EndpointInspect{}
	}
	for _, ep := range c.Network.Endpoints {
		s.Networks[ep.Network] = inspectEndpoint(c, ep, liveEndpoint(live, ep.NetworkID))
	}
	for _, p := range open {
		if p.HostPort != 0 {
			s.Ports[portName(p)] = append(s.Ports[portName(p)], bindingsOf(p)...)
		}
	}
	if live.ContainerID == "" {
		return s
	}
	if own := s.Networks[netd.DefaultName]; own != nil { // these fields are of the default network alone
		s.EndpointID, s.Gateway, s.IPAddress, s.IPPrefixLen = own.EndpointID, own.Gateway, own.IPAddress, own.IPPrefixLen
		s.IPv6Gateway, s.GlobalIPv6Address, s.GlobalIPv6PrefixLen, s.MacAddress = own.IPv6Gateway, own.GlobalIPv6Address, own.GlobalIPv6PrefixLen, own.MacAddress
	}
	for _, p := range c.Network.Exposed {
		s.Ports[portName(p)] = nil
	}
	for _, p := range live.Ports {
		s.Ports[portName(p)] = append(s.Ports[portName(p)], bindingsOf(p)...)
	}
	return s
}

func liveEndpoint(live netd.Live, networkID string) netd.Endpoint {
	for _, e := range live.Endpoints {
		if e.NetworkID == networkID {
			return e
		}
	}
	return netd.Endpoint{}
}

func inspectEndpoint(c spec.Container, ep spec.Endpoint, at netd.Endpoint) *EndpointInspect {
	out := &EndpointInspect{
		Aliases: ep.Aliases, DriverOpts: ep.Options, GwPriority: ep.Priority, NetworkID: ep.NetworkID,
		Gateway: addrText(at.Gateway4), IPv6Gateway: addrText(at.Gateway6),
	}
	if ep.IPv4.IsValid() || ep.IPv6.IsValid() {
		out.IPAMConfig = &EndpointIPAM{addrText(ep.IPv4), addrText(ep.IPv6)}
	}
	for _, l := range ep.Links {
		out.Links = append(out.Links, l.Name+":"+l.Alias)
	}
	if ep.Network != netd.DefaultName {
		out.DNSNames = append(dnsNames(c), ep.Aliases...)
	}
	if at.ContainerID == "" {
		return out
	}
	out.EndpointID = endpointID(at)
	out.IPAddress, out.IPPrefixLen = prefixText(at.Addr4)
	out.GlobalIPv6Address, out.GlobalIPv6PrefixLen = prefixText(at.Addr6)
	if mac, err := at.HardwareAddr(); err == nil {
		out.MacAddress = net.HardwareAddr(mac[:]).String()
	}
	return out
}

// endpointID returns the id of an endpoint. It has none of its own: it is the
// container's place in the network, so it follows from both ids.
func endpointID(at netd.Endpoint) string {
	half := func(id string) string { return id[:min(len(id), 32)] }
	return half(at.NetworkID) + half(at.ContainerID)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixText(p netip.Prefix) (addr string, bits int) {
	if !p.IsValid() {
		return "", 0
	}
	return p.Addr().String(), p.Bits()
}

// portName returns the port of the container as Docker's keys have it.
func portName(p spec.Port) string { return fmt.Sprintf("%d/%s", p.ContainerPort, p.Proto) }

// bindingsOf returns where a port of a running container is published: one entry
// for each family.
func bindingsOf(p spec.Port) []PortBinding {
	port := strconv.Itoa(int(p.HostPort))
	if p.HostIP.IsValid() {
		return []PortBinding{{p.HostIP.String(), port}}
	}
	return []PortBinding{{netip.IPv4Unspecified().String(), port}, {netip.IPv6Unspecified().String(), port}}
}

// portBindings returns what the user asked to be published.
func portBindings(ports []spec.Port) map[string][]PortBinding {
	out := map[string][]PortBinding{}
	for _, p := range ports {
		b := PortBinding{HostIP: addrText(p.HostIP)}
		if p.HostPort != 0 {
			b.HostPort = strconv.Itoa(int(p.HostPort))
		}
		if p.HostPortLast > p.HostPort {
			b.HostPort += "-" + strconv.Itoa(int(p.HostPortLast))
		}
		out[portName(p)] = append(out[portName(p)], b)
	}
	return out
}

func exposedPorts(n spec.Network) map[string]struct{} {
	if len(n.Exposed)+len(n.Ports) == 0 {
		return nil
	}
	out := map[string]struct{}{}
	for _, p := range append(append([]spec.Port{}, n.Exposed...), n.Ports...) {
		out[portName(p)] = struct{}{}
	}
	return out
}

// linkNames returns the links on the default network in the form of
// HostConfig.Links.
func linkNames(c spec.Container) []string {
	var out []string
	for _, ep := range c.Network.Endpoints {
		if ep.Network != netd.DefaultName {
			continue
		}
		for _, l := range ep.Links {
			out = append(out, "/"+l.Name+":/"+c.Name+"/"+cmp.Or(l.Alias, l.Name))
		}
	}
	return out
}
