package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// network returns a network by its id.
func (e *Engine) network(id string) (netd.Network, error) {
	var n netd.Network
	if err := e.state.LoadNetwork(id, &n); err != nil {
		return n, err
	}
	return n, n.Check()
}

// networks returns all networks in the order of their ids. One that cannot be
// read is an error: a new network could collide with it.
func (e *Engine) networks() ([]netd.Network, error) {
	ids, err := e.state.NetworkIDs()
	if err != nil {
		return nil, err
	}
	all := make([]netd.Network, 0, len(ids))
	for _, id := range ids {
		n, err := e.network(id)
		if isNotFound(err) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// findNetwork returns the network that ref names: its name, its id, or the
// beginning of its id if that fits one network alone, in this order. The default
// network is made if it is not there yet.
func (e *Engine) findNetwork(ctx context.Context, ref string) (netd.Network, error) {
	if err := e.settleRemovals(ctx); err != nil {
		return netd.Network{}, err
	}
	all, err := e.networks()
	if err != nil {
		return netd.Network{}, err
	}
	var found []netd.Network
	for _, n := range all {
		if n.Name == ref || n.ID == ref {
			return n, nil
		}
		if ref != "" && strings.HasPrefix(n.ID, ref) {
			found = append(found, n)
		}
	}
	switch {
	case ref == netd.DefaultName:
		return e.ensureDefault(ctx)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return netd.Network{}, invalid("network id %q is ambiguous: %s and %s begin with it", ref, spec.ShortID(found[0].ID), spec.ShortID(found[1].ID))
	}
	return netd.Network{}, fmt.Errorf("network %q not found: see 'cleat network ls', or make it with 'cleat network create %s': %w", ref, ref, spec.ErrNotFound)
}

// ensureDefault returns the default network, which is made on first use: only
// then is it known which addresses the host uses itself.
func (e *Engine) ensureDefault(ctx context.Context) (netd.Network, error) {
	req := netd.Request{Name: netd.DefaultName, IPv6: link.HasIPv6()}
	if e.opt.Root != state.DefaultRoot {
		req.Options = map[string]string{"com.docker.network.bridge.name": "cl-" + e.place()}
	}
	n, err := e.planNetwork(ctx, req)
	if errors.Is(err, spec.ErrExists) { // somebody else was faster
		return e.findNetwork(ctx, netd.DefaultName)
	}
	return n, err
}

// planNetwork plans a network that gets along with the host and all others, and
// stores it.
func (e *Engine) planNetwork(ctx context.Context, req netd.Request) (netd.Network, error) {
	lock, err := e.lockNetworks(ctx)
	if err != nil {
		return netd.Network{}, err
	}
	defer lock.Release()
	around, err := e.surroundings()
	if err != nil {
		return netd.Network{}, err
	}
	req.ID, req.Created = newID(), time.Now().UTC()
	n, err := netd.Plan(req, around)
	if err != nil {
		return netd.Network{}, err
	}
	return n, e.state.SaveNetwork(n.ID, n)
}

func (e *Engine) surroundings() (netd.Surroundings, error) {
	all, err := e.networks()
	if err != nil {
		return netd.Surroundings{}, err
	}
	ours := map[string]bool{}
	for _, n := range all {
		ours[n.Device] = true
	}
	routes, err := link.Routes(func(device string) bool { return ours[device] })
	if err != nil {
		return netd.Surroundings{}, err
	}
	// Without an id the addresses are those of every host without one: they are
	// local, so that does no harm.
	id, _ := os.ReadFile("/etc/machine-id")
	return netd.Surroundings{Networks: all, Routes: routes, Pools: e.pools(), Place: e.place(), HostID: strings.TrimSpace(string(id)) + e.place()}, nil
}

// pools returns the configured address pools, nil for the default ones.
func (e *Engine) pools() []netd.Pool {
	var pools []netd.Pool
	for _, p := range e.config.AddressPools {
		pools = append(pools, netd.Pool{Base: p.Prefix, Bits: p.Size})
	}
	return pools
}

// place is "" for the ordinary state directory, and else a short word that
// follows from it.
func (e *Engine) place() string { return e.state.Place() }

// table returns the name of the firewall's table.
func (e *Engine) table() string { return nft.TableOf(e.place()) }

// wires returns what containers are connected to.
func (e *Engine) wires() wire.Host {
	return wire.Host{RunRoot: e.opt.RunRoot, Network: e.network}
}
