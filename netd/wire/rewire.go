package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// Target is a container that runs.
type Target struct {
	ID        string
	Cgroup    string // of its unit, below the root of cgroup2
	Namespace int    // descriptor of its network namespace
}

// Rewire makes the networks of a container that runs be those of w: it plugs and
// unplugs, moves default routes and published ports where the way to the world
// changes, and has names answered for if they were not. Which ports are published
// does not change. It returns what the container had and what it has now. Doing
// the same again, after it was interrupted, completes it; if it fails, what it has
// plugged is unplugged. The caller holds the container's lock.
func (h Host) Rewire(ctx context.Context, w netd.Wiring, t Target) (before, now netd.Live, err error) {
	var u undo.Stack
	defer u.OnError(ctx, &err)
	before, err = h.Lives().Load(t.ID)
	if errors.Is(err, spec.ErrNotFound) {
		before = netd.Live{ContainerID: t.ID, Cgroup: t.Cgroup, Table: w.Table, Names: w.Names, DNS: w.DNS}
		err = nil
		u.Push("remove network record", func(context.Context) error { return h.Lives().Remove(t.ID) })
	}
	if err != nil {
		return before, before, err
	}
	now, err = h.next(ctx, w, before, &u)
	if err != nil {
		return before, now, err
	}
	gone := less(before, now)
	both := now
	both.Endpoints = slices.Concat(now.Endpoints, gone)
	if err := h.update(ctx, both); err != nil {
		return before, now, err
	}
	u.Push("restore network record", func(context.Context) error { return h.Lives().Save(before) })
	if err := h.replug(ctx, before, now, t.Namespace, &u); err != nil {
		return before, now, err
	}
	if err := h.reopen(ctx, before, now); err != nil {
		return before, now, err
	}
	for _, e := range gone {
		if err := h.Leases().Disconnect(ctx, e); err != nil {
			return before, now, err
		}
	}
	return before, now, h.update(ctx, now)
}

// next returns the record that a container has with wiring w, its new addresses
// leased.
func (h Host) next(ctx context.Context, w netd.Wiring, before netd.Live, u *undo.Stack) (netd.Live, error) {
	now := before
	now.Resolver, now.Internal = before.Resolver || w.Resolver, true
	now.Endpoints, now.Links = nil, nil
	for _, c := range w.Connections {
		n, err := h.Network(c.NetworkID)
		if err != nil {
			return now, err
		}
		e := endpointOn(before, c.NetworkID)
		if e == nil {
			_, leased, err := h.lease(ctx, c, netd.Owner{ContainerID: before.ContainerID, Cgroup: before.Cgroup}, netd.Live{})
			if err != nil {
				return now, err
			}
			u.Push("release addresses", func(ctx context.Context) error { return h.Leases().Disconnect(ctx, leased) })
			e = &leased
		}
		now.Endpoints = append(now.Endpoints, routed(*e, &n, c.Attachment))
		now.Links = append(now.Links, c.Links...)
		now.Internal = now.Internal && n.Internal
	}
	return now, nil
}

func endpointOn(l netd.Live, networkID string) *netd.Endpoint {
	for i := range l.Endpoints {
		if l.Endpoints[i].NetworkID == networkID {
			e := l.Endpoints[i]
			return &e
		}
	}
	return nil
}

// routed returns e with the default routes, and the names, that a asks for.
func routed(e netd.Endpoint, n *netd.Network, a netd.Attachment) netd.Endpoint {
	e.Aliases = a.Aliases
	none := netd.Endpoint{}
	e.Gateway4, e.Gateway6 = none.Gateway4, none.Gateway6
	if !a.DefaultRoute || n.Internal {
		return e
	}
	if s := n.Subnet4(); s != nil && e.Addr4.IsValid() {
		e.Gateway4 = s.Gateway
	}
	if s := n.Subnet6(); s != nil && e.Addr6.IsValid() {
		e.Gateway6 = s.Gateway
	}
	return e
}

// less returns the endpoints of l that now has not.
func less(l, now netd.Live) []netd.Endpoint {
	return slices.DeleteFunc(slices.Clone(l.Endpoints), func(e netd.Endpoint) bool { return endpointOn(now, e.NetworkID) != nil })
}

// replug plugs what is new, unplugs what is gone, and moves the default routes.
func (h Host) replug(ctx context.Context, before, now netd.Live, ns int, u *undo.Stack) error {
	if now.Resolver && !before.Resolver {
		if err := h.Answer(ctx, now.ContainerID, ns); err != nil {
			return err
		}
	}
	for _, e := range less(before, now) {
		if err := link.Detach(ns, e); err != nil {
			return err
		}
	}
	for _, e := range now.Endpoints {
		if endpointOn(before, e.NetworkID) != nil && link.Plugged(ns, e) {
			continue
		}
		if err := h.plugIn(ns, e); err != nil {
			return err
		}
		u.Push("unplug "+e.Interface(), func(context.Context) error { return link.Detach(ns, e) })
	}
	u.Push("restore default routes", func(context.Context) error { return link.Reroute(ns, now.Endpoints, before.Endpoints) })
	return link.Reroute(ns, before.Endpoints, now.Endpoints)
}

// plugIn plugs network namespace ns into the network of e.
func (h Host) plugIn(ns int, e netd.Endpoint) error {
	n, err := h.Network(e.NetworkID)
	if err != nil {
		return err
	}
	if err := link.Attach(&n, ns, e); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	return nil
}

// reopen leads the published ports to where the container can be reached now, and
// tells the firewall of networks that it may not know.
func (h Host) reopen(ctx context.Context, before, now netd.Live) error {
	if was := mappings(before); !slices.Equal(was, mappings(now)) {
		if err := nft.New(now.Table).Remove(nft.State{Ports: was}); err != nil {
			return err
		}
	}
	return h.publish(ctx, now)
}

// publish makes the firewall know the networks of l and lead its ports to it.
func (h Host) publish(ctx context.Context, l netd.Live) error {
	state := nft.State{Ports: mappings(l)}
	for _, e := range l.Endpoints {
		n, err := h.Network(e.NetworkID)
		if err != nil {
			return err
		}
		if !e.Direct {
			state.Networks = append(state.Networks, nft.NetworkOf(&n))
		}
	}
	if len(state.Networks) == 0 {
		return nil // nothing passes through the host
	}
	var err error
	if state.Unrouted4, state.Unrouted6, err = link.Unrouted(); err != nil {
		return err
	}
	if err := h.open(ctx, l.Table, state); err != nil {
		return err
	}
	if l.Activated { // a flow that the proxy carries stays with it
		return nil
	}
	return link.ForgetFlows(l.Ports)
}
