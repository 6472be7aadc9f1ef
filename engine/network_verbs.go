package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// NetworkSubnet is the address space of a new network in one family. Only Prefix
// is required.
type NetworkSubnet = netd.Subnet

// NetworkCreateOptions says what network to create.
type NetworkCreateOptions struct {
	Name       string            // required
	Driver     string            // "" means "bridge"
	Subnets    []NetworkSubnet   // at most one of each family; none: chosen
	IPv6       bool              // an IPv6 subnet, besides or instead of IPv4
	NoIPv4     bool              // no IPv4 subnet; then IPv6 has to be set
	Internal   bool              // no way out of the network
	Attachable bool              // accepted for Docker's sake; means nothing
	Labels     map[string]string // for the user
	Options    map[string]string // of the driver, under Docker's keys
}

// NetworkCreate creates a network and returns its id. No device is made before a
// container is connected. The warnings say what the user should know, each as one
// sentence without a full stop.
func (e *Engine) NetworkCreate(ctx context.Context, opt NetworkCreateOptions) (id string, warnings []string, err error) {
	if opt.Name == netd.DefaultName || isPseudo(opt.Name) {
		return "", nil, conflict("operation is not permitted on predefined %s network", opt.Name)
	}
	n, err := e.planNetwork(ctx, netd.Request{
		Name: opt.Name, Driver: opt.Driver, Subnets: opt.Subnets, IPv6: opt.IPv6, NoIPv4: opt.NoIPv4,
		Internal: opt.Internal, Attachable: opt.Attachable, Labels: opt.Labels, Options: opt.Options,
	})
	if errors.Is(err, spec.ErrExists) {
		return "", nil, fmt.Errorf("network with name %s already exists: %w", opt.Name, spec.ErrExists)
	}
	if err != nil {
		return "", nil, err
	}
	e.tellNetwork("create", n)
	return n.ID, e.shadows(n), nil
}

// shadows warns of what the host has a route to and cannot reach any more once a
// network is in use. Subnets that are chosen avoid such places by themselves.
func (e *Engine) shadows(n netd.Network) []string {
	if n.Driver == netd.DriverMacvlan {
		return nil // it is meant to be part of the LAN
	}
	around, err := e.surroundings()
	if err != nil {
		return nil // the network is there, and this would only be advice
	}
	var warnings []string
	for _, s := range n.Subnets {
		at := slices.IndexFunc(around.Routes, func(r netip.Prefix) bool { return r.Overlaps(s.Prefix) })
		if at >= 0 {
			warnings = append(warnings, fmt.Sprintf("subnet %s overlaps the host's own route to %s, which containers of network %q and, while they run, the host may not reach", s.Prefix, around.Routes[at], n.Name))
		}
	}
	return warnings
}

// The networks that are there without being stored: a container on one of them
// has the host's interfaces, or none.
const (
	hostNetwork = "host"
	noNetwork   = "none"
)

func isPseudo(name string) bool { return name == hostNetwork || name == noNetwork }

// isPredefined reports whether a network can be neither made nor removed.
func isPredefined(name string) bool { return name == netd.DefaultName || isPseudo(name) }

// Networks returns the networks that filters leave, the predefined ones included,
// sorted by name. The keys of filters are those of Docker: dangling, driver, id,
// label, name, scope and type. Who is connected is not in the result, see
// NetworkInspect.
func (e *Engine) Networks(ctx context.Context, filters map[string][]string) ([]NetworkInspect, error) {
	match, err := e.networkFilter(filters)
	if err != nil {
		return nil, err
	}
	if _, err := e.findNetwork(ctx, netd.DefaultName); err != nil && !errors.Is(err, spec.ErrConflict) {
		return nil, err
	} else if err != nil {
		e.warnf("there is no default network: %v", err)
	}
	stored, err := e.networks()
	if err != nil {
		return nil, err
	}
	all := []NetworkInspect{e.pseudo(hostNetwork), e.pseudo(noNetwork)}
	for _, n := range stored {
		all = append(all, inspectNetworkOf(n))
	}
	all = slices.DeleteFunc(all, func(n NetworkInspect) bool { return !match(n) })
	slices.SortFunc(all, func(a, b NetworkInspect) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// NetworkInspect returns the network that ref names, in Docker's form, with the
// containers that are connected to it and run.
func (e *Engine) NetworkInspect(ctx context.Context, ref string) (*NetworkInspect, error) {
	for _, name := range []string{hostNetwork, noNetwork} {
		if n := e.pseudo(name); ref == name || ref == n.ID || len(ref) >= minIDPrefix && strings.HasPrefix(n.ID, ref) {
			return &n, e.addMode(ctx, &n)
		}
	}
	n, err := e.findNetwork(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := inspectNetworkOf(n)
	return &out, e.addConnected(&out)
}

// minIDPrefix keeps short words from being taken for the beginning of the id of
// "host" or "none".
const minIDPrefix = 4

// addConnected lists the running containers of a stored network.
func (e *Engine) addConnected(n *NetworkInspect) error {
	lives, err := e.wires().Lives().All()
	if err != nil {
		return err
	}
	for _, l := range lives {
		if !l.Running() {
			continue
		}
		for _, ep := range l.Endpoints {
			if ep.NetworkID != n.ID {
				continue
			}
			c, err := e.state.Load(l.ContainerID)
			if isNotFound(err) {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
			n.Containers[c.ID] = connected(c.Name, ep)
		}
	}
	return nil
}

// addMode lists the running containers whose network mode is the network's name.
func (e *Engine) addMode(ctx context.Context, n *NetworkInspect) error {
	all, err := e.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Network.Mode == n.Name && (c.Status == StatusRunning || c.Status == StatusPaused) {
			n.Containers[c.ID] = NetworkContainer{Name: c.Name, EndpointID: endpointID(netd.Endpoint{NetworkID: n.ID, ContainerID: c.ID})}
		}
	}
	return nil
}
