package compose

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
)

// network says how a service is connected: to networks of the project, under its
// own name, or in another mode.
func (p *Project) network(w *wanted) error {
	s := w.service
	if s.NetworkMode != "" {
		name, err := p.mode(w, s.NetworkMode, func(s string) (string, error) { return s, nil })
		if err != nil {
			return err
		}
		if len(s.Links)+len(s.ExternalLinks) > 0 {
			return at("links", errors.New("needs a network of the project"))
		}
		w.create.Networks = []engine.NetworkRequest{{Name: name, MAC: s.MacAddress}}
		return nil
	}
	links, err := p.links(w)
	if err != nil {
		return at("links", err)
	}
	for i, key := range s.NetworksByPriority() {
		r, err := p.request(s, key)
		if err != nil {
			return at("networks."+key, err)
		}
		if i == 0 && r.MAC == "" {
			r.MAC = s.MacAddress
		}
		r.Links = links
		w.create.Networks = append(w.create.Networks, r)
	}
	if len(w.create.Networks) == 0 {
		w.create.Networks = []engine.NetworkRequest{{Name: "none"}}
	}
	return nil
}

// request is the connection of a service to the network that the project calls key.
func (p *Project) request(s types.ServiceConfig, key string) (r engine.NetworkRequest, err error) {
	n, ok := p.model.Networks[key]
	if !ok {
		return r, errors.New("the project has no such network")
	}
	r.Name = n.Name
	cfg := s.Networks[key]
	if cfg.ServiceNameAliasEnabled() {
		r.Aliases = []string{s.Name}
	}
	if cfg == nil {
		return r, nil
	}
	for _, a := range cfg.Aliases {
		if !slices.Contains(r.Aliases, a) {
			r.Aliases = append(r.Aliases, a)
		}
	}
	if cfg.Ipv4Address != "" {
		if r.IPv4, err = opts.IPv4(cfg.Ipv4Address); err != nil {
			return r, err
		}
	}
	if cfg.Ipv6Address != "" {
		if r.IPv6, err = opts.IPv6(cfg.Ipv6Address); err != nil {
			return r, err
		}
	}
	r.MAC, r.Priority = cfg.MacAddress, cfg.GatewayPriority
	if len(cfg.DriverOpts) > 0 {
		r.Options = cfg.DriverOpts
	}
	return r, nil
}

// links returns the containers that a service knows by names of its own, as
// CONTAINER:ALIAS.
func (p *Project) links(w *wanted) (list []string, err error) {
	for _, entry := range w.service.Links {
		service, alias, given := strings.Cut(entry, ":")
		if !given {
			alias = service
		}
		name, err := p.firstContainer(service)
		if err != nil {
			return nil, err
		}
		w.bound = append(w.bound, service)
		list = append(list, name+":"+alias)
	}
	external, err := parseAll(w.service.ExternalLinks, opts.Link)
	return append(list, external...), err
}

func (p *Project) ports(w *wanted) error {
	for _, port := range w.service.Ports {
		text := fmt.Sprintf("%d/%s", port.Target, or(port.Protocol, "tcp"))
		host := port.HostIP
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		switch {
		case host != "":
			text = host + ":" + port.Published + ":" + text
		case port.Published != "":
			text = port.Published + ":" + text
		}
		list, err := engine.ParsePublish(text)
		if err != nil {
			return err
		}
		w.create.Container.Network.Ports = append(w.create.Container.Network.Ports, list...)
	}
	for _, text := range w.service.Expose {
		list, err := engine.ParseExpose(text)
		if err != nil {
			return at("expose", err)
		}
		w.create.Container.Network.Exposed = append(w.create.Container.Network.Exposed, list...)
	}
	return nil
}

// names says where a service's containers look up names.
func (p *Project) names(w *wanted) (err error) {
	s, n := w.service, &w.create.Container.Network
	if n.DNS, err = parseAll(s.DNS, opts.DNS); err != nil {
		return err
	}
	if n.DNSSearch, err = parseAll(s.DNSSearch, opts.DNSSearch); err != nil {
		return at("dns_search", err)
	}
	n.DNSOptions = s.DNSOpts
	hosts := s.ExtraHosts.AsList(":")
	slices.Sort(hosts)
	n.ExtraHosts, err = parseAll(hosts, opts.ExtraHost)
	return at("extra_hosts", err)
}

// networkOptions turns a network of the project into what the engine takes.
func (p *Project) networkOptions(key string) (engine.NetworkCreateOptions, error) {
	n := p.model.Networks[key]
	opt := engine.NetworkCreateOptions{
		Name: n.Name, Driver: n.Driver, Internal: n.Internal, Attachable: n.Attachable, Options: n.DriverOpts,
		IPv6:   n.EnableIPv6 != nil && *n.EnableIPv6,
		NoIPv4: n.EnableIPv4 != nil && !*n.EnableIPv4,
		Labels: p.objectLabels(n.Labels, labelNetwork, key),
	}
	for _, pool := range n.Ipam.Config {
		subnet, err := subnetOf(pool)
		if err != nil {
			return opt, p.refusef("networks."+key+".ipam.config", "%w", err)
		}
		opt.IPv6 = opt.IPv6 || subnet.Prefix.Addr().Is6()
		opt.Subnets = append(opt.Subnets, subnet)
	}
	hash, err := sumOf(opt)
	opt.Labels[labelHash] = hash
	return opt, err
}

func subnetOf(pool *types.IPAMPool) (s engine.NetworkSubnet, err error) {
	if s.Prefix, err = netip.ParsePrefix(pool.Subnet); err != nil {
		return s, fmt.Errorf("subnet %q: must be an address and a length, as 10.1.0.0/16", pool.Subnet)
	}
	s.Prefix = s.Prefix.Masked()
	if pool.Gateway != "" {
		if s.Gateway, err = netip.ParseAddr(pool.Gateway); err != nil {
			return s, fmt.Errorf("gateway %q: must be an address", pool.Gateway)
		}
	}
	if pool.IPRange != "" {
		if s.Range, err = netip.ParsePrefix(pool.IPRange); err != nil {
			return s, fmt.Errorf("ip_range %q: must be an address and a length, as 10.1.2.0/24", pool.IPRange)
		}
	}
	for name, text := range pool.AuxiliaryAddresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return s, fmt.Errorf("aux_addresses %s %q: must be an address", name, text)
		}
		if s.Aux == nil {
			s.Aux = map[string]netip.Addr{}
		}
		s.Aux[name] = addr
	}
	return s, nil
}

// volumeOptions turns a volume of the project into what the engine takes.
func (p *Project) volumeOptions(key string) (engine.CreateVolumeOptions, error) {
	v := p.model.Volumes[key]
	opt := engine.CreateVolumeOptions{Name: v.Name, Driver: v.Driver, Options: v.DriverOpts, Labels: p.objectLabels(v.Labels, labelVolume, key)}
	hash, err := sumOf(opt)
	opt.Labels[labelHash] = hash
	return opt, err
}

// objectLabels returns the labels of a network or volume.
func (p *Project) objectLabels(own map[string]string, kind, key string) map[string]string {
	labels := map[string]string{}
	for k, v := range own {
		labels[k] = v
	}
	labels[labelProject], labels[kind], labels[labelVersion] = p.Name(), key, specVersion
	return labels
}
