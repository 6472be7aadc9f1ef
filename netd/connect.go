package netd

import (
	"context"
	"errors"
	"net/netip"

	"github.com/cleat-project/cleat/internal/undo"
)

// Attachment is how a container wants to be connected to a network.
type Attachment struct {
	Index        int        `json:"index"`                   // among the container's networks: the 2 in eth2
	Static4      netip.Addr `json:"static4,omitzero"`        // --ip: this address or none
	Static6      netip.Addr `json:"static6,omitzero"`        // --ip6
	Last4        netip.Addr `json:"last4,omitzero"`          // of the run before: taken again if it is free
	Last6        netip.Addr `json:"last6,omitzero"`          // likewise
	MAC          string     `json:"mac,omitempty"`           // --mac-address
	Aliases      []string   `json:"aliases,omitempty"`       // --network-alias
	DefaultRoute bool       `json:"default_route,omitempty"` // the way to the world is by this network; internal ones have none
}

// Connect leases addresses for a container in each of the network's families and
// returns the endpoint to plug in. On failure nothing stays leased that was not
// before. Doing so again for the same container, say because the run before was
// killed, is no error.
func (l Leases) Connect(ctx context.Context, n *Network, o Owner, a Attachment) (e Endpoint, err error) {
	if err := n.CheckStatic(a.Static4, a.Static6); err != nil {
		return Endpoint{}, err
	}
	var u undo.Stack
	defer u.OnError(ctx, &err)
	e = Endpoint{
		NetworkID: n.ID, ContainerID: o.ContainerID, Index: a.Index,
		MAC: a.MAC, Aliases: a.Aliases, Isolated: n.Isolated, Direct: n.Driver == DriverMacvlan, MTU: n.MTU,
	}
	for _, f := range []struct {
		subnet       *Subnet
		static, last netip.Addr
		addr         *netip.Prefix
		gateway      *netip.Addr
	}{
		{n.Subnet4(), a.Static4, a.Last4, &e.Addr4, &e.Gateway4},
		{n.Subnet6(), a.Static6, a.Last6, &e.Addr6, &e.Gateway6},
	} {
		if f.subnet == nil {
			continue
		}
		got, err := l.lease(n, *f.subnet, o, f.static, f.last)
		if err != nil {
			return Endpoint{}, err
		}
		u.Push("release address", func(ctx context.Context) error { return l.Release(ctx, n.ID, got, o.ContainerID) })
		*f.addr = netip.PrefixFrom(got, f.subnet.Prefix.Bits())
		if a.DefaultRoute && !n.Internal {
			*f.gateway = f.subnet.Gateway
		}
	}
	return e, e.Check()
}

// lease takes the address that was asked for, or the last one if it is free, or
// the next.
func (l Leases) lease(n *Network, s Subnet, o Owner, static, last netip.Addr) (netip.Addr, error) {
	if static.IsValid() {
		return static, l.Take(n.ID, static, o)
	}
	if last.IsValid() && s.CheckAddr(last) == nil && !s.reserved(last) {
		err := l.Take(n.ID, last, o)
		if _, taken := errors.AsType[*InUse](err); !taken {
			return last, err
		}
	}
	return l.Next(n.ID, s, o)
}

// Disconnect gives the addresses of an endpoint back.
func (l Leases) Disconnect(ctx context.Context, e Endpoint) error {
	var err error
	for _, p := range []netip.Prefix{e.Addr4, e.Addr6} {
		if p.IsValid() {
			err = errors.Join(err, l.Release(ctx, e.NetworkID, p.Addr(), e.ContainerID))
		}
	}
	return err
}
