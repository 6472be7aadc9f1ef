package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/sandbox/profile"
	"github.com/cleat-project/cleat/spec"
)

// settleNetwork decides how c is connected: its mode, the networks that it is on,
// and which ports are published.
func (e *Engine) settleNetwork(ctx context.Context, c *spec.Container, requests []NetworkRequest) error {
	if len(requests) == 0 {
		requests = []NetworkRequest{{Name: c.Network.Mode}}
	}
	requests = slices.Clone(requests)
	for i := range requests {
		if name := requests[i].Name; name == "" || name == "default" {
			requests[i].Name = e.config.DefaultNetwork
		}
	}
	c.Network.Mode = requests[0].Name
	if !onNetworks(c.Network.Mode) {
		return e.settleWithout(c, requests)
	}
	for _, r := range requests {
		if err := e.addEndpoint(ctx, c, r); err != nil {
			return err
		}
	}
	ports, err := assignable(*c)
	if err != nil {
		return err
	}
	return e.checkActivation(*c, ports)
}

// onNetworks reports whether a container of the given network mode is on
// networks.
func onNetworks(mode string) bool {
	return mode != "none" && mode != "host" && !strings.HasPrefix(mode, "container:")
}

// settleWithout checks what was asked of a container that is on no network.
func (e *Engine) settleWithout(c *spec.Container, requests []NetworkRequest) error {
	mode := c.Network.Mode
	if len(requests) > 1 {
		return conflict("network mode %q cannot be combined with other networks", mode)
	}
	if r := requests[0]; r.IPv4.IsValid() || r.IPv6.IsValid() || r.MAC != "" || len(r.Aliases)+len(r.Links)+len(r.Options) > 0 {
		return invalid("addresses, aliases, links and options need a network, not network mode %q", mode)
	}
	if c.Activated() {
		ports, err := assignable(*c)
		if err != nil {
			return err
		}
		return e.checkActivation(*c, ports)
	}
	if published := len(c.Network.Ports) > 0 || c.Network.PublishAll; published {
		if strings.HasPrefix(mode, "container:") {
			return conflict("ports cannot be published with network mode %q: publish them at the container whose network it is", mode)
		}
		e.warnf("published ports are discarded with network mode %q", mode)
		c.Network.Ports, c.Network.PublishAll = nil, false
	}
	return nil
}

// addEndpoint adds a connection to the record of c. It is not made before c
// starts.
func (e *Engine) addEndpoint(ctx context.Context, c *spec.Container, r NetworkRequest) error {
	if !onNetworks(r.Name) {
		return conflict("network mode %q cannot be combined with other networks", r.Name)
	}
	n, err := e.findNetwork(ctx, r.Name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.Network.Endpoints, func(have spec.Endpoint) bool { return have.NetworkID == n.ID }) {
		return conflict("container %q is on network %q already", c.Name, n.Name)
	}
	if err := checkEndpoint(n, r); err != nil {
		return err
	}
	links, err := e.resolveLinks(r.Links)
	if err != nil {
		return err
	}
	index, err := freeIndex(c.Network.Endpoints)
	if err != nil {
		return err
	}
	c.Network.Endpoints = append(c.Network.Endpoints, spec.Endpoint{
		NetworkID: n.ID, Network: n.Name, Index: index, IPv4: r.IPv4, IPv6: r.IPv6, MAC: r.MAC,
		Aliases: r.Aliases, Links: links, Priority: r.Priority, Options: r.Options,
	})
	return nil
}

// checkEndpoint refuses what a network cannot give. As in Docker, addresses can
// be asked for where the user has chosen the subnet, and aliases where there is
// a name server.
func checkEndpoint(n netd.Network, r NetworkRequest) error {
	if n.Default() && (r.IPv4.IsValid() || r.IPv6.IsValid()) {
		return invalid("network %q: an address can be asked for on user-defined networks only", n.Name)
	}
	if n.Default() && len(r.Aliases) > 0 {
		return invalid("network %q: aliases are for user-defined networks only", n.Name)
	}
	if r.MAC != "" {
		if _, err := netd.ParseMAC(r.MAC); err != nil {
			return err
		}
	}
	for key := range r.Options {
		return fmt.Errorf("network %q: driver option %q: the driver %s has none for single containers: %w", n.Name, key, n.Driver, spec.ErrUnsupport)
	}
	return n.CheckStatic(r.IPv4, r.IPv6)
}

// freeIndex returns the first number of an interface that is not in use.
func freeIndex(have []spec.Endpoint) (int, error) {
	for i := range netd.MaxNetworks {
		if !slices.ContainsFunc(have, func(e spec.Endpoint) bool { return e.Index == i }) {
			return i, nil
		}
	}
	return 0, conflict("a container can be on %d networks at most", netd.MaxNetworks)
}

// resolveLinks reads the values of --link, CONTAINER[:ALIAS].
func (e *Engine) resolveLinks(values []string) ([]spec.Link, error) {
	var links []spec.Link
	for _, v := range values {
		ref, alias, _ := strings.Cut(v, ":")
		other, err := e.state.Find(ref)
		if err != nil {
			return nil, fmt.Errorf("link %q: %w", v, err)
		}
		if alias = cmp.Or(alias, other.Name); strings.ContainsFunc(alias, notNameRune) {
			return nil, invalid("link %q: alias: must be of [a-zA-Z0-9_.-]", v)
		}
		if !onNetworks(other.Network.Mode) {
			return nil, conflict("link %q: container %q is on no network", v, other.Name)
		}
		links = append(links, spec.Link{ContainerID: other.ID, Name: other.Name, Alias: alias})
	}
	return links, nil
}

// assignable returns what c publishes, with those ports that it was left to cleat
// to choose: each exposed one, with PublishAll, that is not published by itself.
func assignable(c spec.Container) ([]spec.Port, error) {
	ports := slices.Clone(c.Network.Ports)
	if c.Network.PublishAll {
		for _, x := range c.Network.Exposed {
			published := func(p spec.Port) bool { return p.Proto == x.Proto && p.ContainerPort == x.ContainerPort }
			if !slices.ContainsFunc(ports, published) {
				ports = append(ports, spec.Port{Proto: x.Proto, ContainerPort: x.ContainerPort})
			}
		}
	}
	for i, p := range ports {
		if p.HostPort == 0 || p.HostPortLast != 0 {
			continue
		}
		for _, q := range ports[:i] {
			if q.HostPort != 0 && q.HostPortLast == 0 && q.Overlaps(p) {
				return nil, conflict("port %s is published twice", p)
			}
		}
	}
	return ports, nil
}

// gateway returns the network that a container reaches the world by, nil if all
// of its networks are internal. As in Docker, it is the one of the highest
// priority, of several the first by name.
func (e *Engine) gateway(c spec.Container) (*netd.Network, error) {
	var best *netd.Network
	priority := 0
	for _, ep := range c.Network.Endpoints {
		n, err := e.network(ep.NetworkID)
		if isNotFound(err) || err == nil && n.Internal {
			continue // if it is gone, the start says so: see checkNetworksOf
		}
		if err != nil {
			return nil, fmt.Errorf("network %q of container %q: %w", ep.Network, c.Name, err)
		}
		if best == nil || ep.Priority > priority || ep.Priority == priority && n.Name < best.Name {
			best, priority = &n, ep.Priority
		}
	}
	return best, nil
}

// wiring computes what the start of c needs to know of its networks. Ports whose
// choice is left to cleat are still open.
func (e *Engine) wiring(c spec.Container) (netd.Wiring, error) {
	gateway, err := e.gateway(c)
	if err != nil {
		return netd.Wiring{}, err
	}
	w := netd.Wiring{Table: e.table(), Hostname: hostsName(c), Names: dnsNames(c), Resolver: asksForNames(c)}
	for _, ep := range c.Network.Endpoints {
		w.Connections = append(w.Connections, connectionOf(ep, gateway != nil && gateway.ID == ep.NetworkID))
	}
	w.Activated = c.Activated()
	switch {
	case c.Activation.Mode == spec.ActivateFD:
		w.Ports, err = e.published(c, nil)
	case gateway != nil:
		w.Ports, err = e.published(c, gateway)
	}
	if err != nil {
		return w, err
	}
	for _, s := range c.Network.DNS {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return w, invalid("name server %q is not an address", s)
		}
		w.DNS = append(w.DNS, addr)
	}
	return w, nil
}

// asksForNames reports whether c is on a network where names of containers are
// looked up: any but the default one, as in Docker.
func asksForNames(c spec.Container) bool {
	return slices.ContainsFunc(c.Network.Endpoints, func(ep spec.Endpoint) bool { return ep.Network != netd.DefaultName })
}

func connectionOf(ep spec.Endpoint, defaultRoute bool) netd.Connection {
	conn := netd.Connection{NetworkID: ep.NetworkID, Attachment: netd.Attachment{
		Index: ep.Index, Static4: ep.IPv4, Static6: ep.IPv6, MAC: ep.MAC, Aliases: ep.Aliases, DefaultRoute: defaultRoute,
	}}
	for _, l := range ep.Links {
		conn.Links = append(conn.Links, netd.Link(l))
	}
	return conn
}

// hostsName returns the names that a container's own lines in /etc/hosts have.
func hostsName(c spec.Container) string {
	name := profile.Hostname(c)
	if c.Domainname != "" {
		return name + "." + c.Domainname + " " + name
	}
	return name
}

// dnsNames returns the names by which other containers find c.
func dnsNames(c spec.Container) []string {
	names := []string{c.Name, spec.ShortID(c.ID)}
	if c.Hostname != "" && c.Hostname != c.Name {
		names = append(names, c.Hostname)
	}
	return names
}

// published returns the ports that c publishes by way of network n, which may
// have an address of its own for those without one. Without a network, the sockets
// on the host are all there is. What comes by IPv6 to a network without it is
// carried by a proxy.
func (e *Engine) published(c spec.Container, n *netd.Network) ([]spec.Port, error) {
	ports, err := assignable(c)
	if n == nil {
		n = &netd.Network{}
	}
	if n.Driver == netd.DriverMacvlan && len(ports) > 0 {
		return nil, invalid("ports cannot be published by way of network %q: on a macvlan network a container is reached at its own address", n.Name)
	}
	for i := range ports {
		p := &ports[i]
		if !p.HostIP.IsValid() {
			p.HostIP = n.HostIP
		}
		if !p.HostIP.IsValid() {
			p.HostIP = e.publishAddress()
		}
		without := n.Subnet6() == nil && p.Proto == spec.SCTP // no proxy knows it
		if p.HostIP.Is6() && without {
			return nil, invalid("port %s: network %q has no IPv6", p, n.Name)
		}
		if !p.HostIP.IsValid() && (without || !link.HasIPv6()) {
			p.HostIP = netip.IPv4Unspecified()
		}
	}
	return ports, err
}

// publishAddress returns where ports without an address listen: zero means
// everywhere.
func (e *Engine) publishAddress() netip.Addr { return e.config.PublishAddress }

// withGateway returns c with the address in place of the word host-gateway:
// that of the host in the default network, as in Docker.
func (e *Engine) withGateway(ctx context.Context, c spec.Container) (spec.Container, error) {
	extra := slices.Clone(c.Network.ExtraHosts)
	for i, line := range extra {
		name, ok := strings.CutSuffix(line, profile.HostGateway)
		if !ok {
			continue
		}
		n, err := e.findNetwork(ctx, netd.DefaultName)
		if err != nil {
			return c, err
		}
		extra[i] = name + n.Subnets[0].Gateway.String()
	}
	c.Network.ExtraHosts = extra
	return c, nil
}

// networkFiles returns the files that depend on how a container is connected: its
// wiring, /etc/hosts and /etc/resolv.conf.
func (e *Engine) networkFiles(ctx context.Context, c spec.Container) (map[string][]byte, error) {
	c, err := e.withGateway(ctx, c)
	if err != nil {
		return nil, err
	}
	hosts, err := etcHosts(c)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"hosts": hosts}
	host, err := profile.ReadResolvConf(c.Network)
	if err != nil {
		return nil, err
	}
	if !isWired(c) {
		files["resolv.conf"] = profile.ResolvConf(host, c.Network)
		return files, nil
	}
	w, err := e.wiring(c)
	if err != nil {
		return nil, err
	}
	w.Hosts = string(hosts)
	if files[netd.WiringFile], err = w.Encode(); err != nil {
		return nil, err
	}
	if w.Resolver {
		files["resolv.conf"] = profile.ResolverConf(host, c.Network)
	} else {
		files["resolv.conf"] = profile.ResolvConf(host, c.Network)
	}
	return files, nil
}
