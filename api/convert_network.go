package api

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// network reads what is said of a container's network besides the networks that it
// is on.
func (in createBody) network(host *container.HostConfig) (spec.Network, error) {
	n := spec.Network{PublishAll: host.PublishAllPorts, DNSOptions: host.DNSOptions}
	for _, a := range host.DNS {
		n.DNS = append(n.DNS, a.String())
	}
	for _, list := range []struct {
		from  []string
		to    *[]string
		parse func(string) (string, error)
	}{{host.DNSSearch, &n.DNSSearch, opts.DNSSearch}, {host.ExtraHosts, &n.ExtraHosts, opts.ExtraHost}} {
		for _, text := range list.from {
			parsed, err := list.parse(text)
			if err != nil {
				return n, err
			}
			*list.to = append(*list.to, parsed)
		}
	}
	for port := range in.ExposedPorts {
		exposed, err := engine.ParseExpose(port.String())
		if err != nil {
			return n, err
		}
		n.Exposed = append(n.Exposed, exposed...)
	}
	slices.SortFunc(n.Exposed, comparePorts)
	var err error
	n.Ports, err = publishedPorts(host.PortBindings)
	return n, err
}

// publishedPorts reads the map of ports to places where they are published. No
// place at all means any.
func publishedPorts(bindings network.PortMap) ([]spec.Port, error) {
	var out []spec.Port
	for port, places := range bindings {
		if len(places) == 0 {
			places = []network.PortBinding{{}}
		}
		for _, place := range places {
			p, err := publishedPort(port, place)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, comparePorts)
	return out, nil
}

func publishedPort(port network.Port, place network.PortBinding) (spec.Port, error) {
	text := place.HostPort + ":" + port.String()
	if place.HostPort == "0" {
		text = ":" + port.String()
	}
	if place.HostIP.Is6() {
		text = "[" + place.HostIP.String() + "]:" + text
	} else if place.HostIP.IsValid() {
		text = place.HostIP.String() + ":" + text
	} else if text[0] == ':' {
		text = text[1:]
	}
	parsed, err := engine.ParsePublish(text)
	if err != nil {
		return spec.Port{}, err
	}
	if len(parsed) != 1 {
		return spec.Port{}, invalid("invalid port specification: %q is for more than one port", text)
	}
	return parsed[0], nil
}

// comparePorts puts ports that came from a map into an order.
func comparePorts(a, b spec.Port) int {
	if n := int(a.ContainerPort) - int(b.ContainerPort); n != 0 {
		return n
	}
	return strings.Compare(a.String(), b.String())
}

// requests reads which networks a container is on: that of its mode first.
func (in createBody) requests(host *container.HostConfig, v version) ([]engine.NetworkRequest, error) {
	mode := networkName(string(host.NetworkMode))
	endpoints := map[string]*network.EndpointSettings{}
	if in.NetworkingConfig != nil {
		for name, ep := range in.NetworkingConfig.EndpointsConfig {
			endpoints[networkName(name)] = ep
		}
	}
	first, err := networkRequest(mode, endpoints[mode])
	if err != nil {
		return nil, err
	}
	delete(endpoints, mode)
	first.Links = append(first.Links, host.Links...)
	if in.MacAddress != "" && v < 52 && first.MAC == "" {
		first.MAC = in.MacAddress
	}
	for _, link := range first.Links {
		if _, err := opts.Link(link); err != nil {
			return nil, err
		}
	}
	out := []engine.NetworkRequest{first}
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		r, err := networkRequest(name, endpoints[name])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 1 && mode == "" && isPlain(first) {
		return nil, nil
	}
	return out, nil
}

// isPlain reports whether nothing special is asked of a network.
func isPlain(r engine.NetworkRequest) bool {
	return !r.IPv4.IsValid() && !r.IPv6.IsValid() && r.MAC == "" && len(r.Aliases)+len(r.Links)+len(r.Options) == 0 && r.Priority == 0
}

// networkName is the name of a network, "" for the default one.
func networkName(name string) string {
	if name == network.NetworkDefault {
		return ""
	}
	return name
}

// networkRequest turns the settings of a connection into ours.
func networkRequest(name string, in *network.EndpointSettings) (engine.NetworkRequest, error) {
	r := engine.NetworkRequest{Name: name}
	if in == nil {
		return r, nil
	}
	r.Links, r.Options, r.Priority = slices.Clone(in.Links), in.DriverOpts, in.GwPriority
	if len(in.MacAddress) > 0 {
		r.MAC = in.MacAddress.String()
	}
	for _, alias := range in.Aliases {
		parsed, err := opts.Alias(alias)
		if err != nil {
			return r, err
		}
		r.Aliases = append(r.Aliases, parsed)
	}
	if c := in.IPAMConfig; c != nil {
		if len(c.LinkLocalIPs) > 0 {
			return r, unsupported("LinkLocalIPs %s", opts.NoLinkLocal)
		}
		r.IPv4, r.IPv6 = c.IPv4Address, c.IPv6Address
		if err := checkFamilies(r.IPv4, r.IPv6); err != nil {
			return r, err
		}
	}
	return r, nil
}

func checkFamilies(v4, v6 netip.Addr) error {
	if v4.IsValid() && !v4.Is4() {
		return invalid("invalid IPv4 address: %s", v4)
	}
	if v6.IsValid() && !v6.Is6() {
		return invalid("invalid IPv6 address: %s", v6)
	}
	return nil
}

// subnets reads the address spaces of a new network.
func subnets(in *network.IPAM) ([]engine.NetworkSubnet, error) {
	if in == nil {
		return nil, nil
	}
	if in.Driver != "" && in.Driver != "default" {
		return nil, unsupported("the IPAM driver %q is not supported: cleat gives out the addresses itself", in.Driver)
	}
	if len(in.Options) > 0 {
		return nil, unsupported("options of the IPAM driver are not supported: there is none that has any")
	}
	var out []engine.NetworkSubnet
	for _, c := range in.Config {
		if !c.Subnet.IsValid() {
			if c.IPRange.IsValid() || c.Gateway.IsValid() || len(c.AuxAddress) > 0 {
				return nil, invalid("every ip-range, gateway or auxiliary address needs a subnet")
			}
			continue
		}
		out = append(out, engine.NetworkSubnet{Prefix: c.Subnet, Gateway: c.Gateway, Range: c.IPRange, Aux: c.AuxAddress})
	}
	return out, nil
}
