// Package wire connects containers to their networks and disconnects them: the
// steps that packages netd, netd/link and netd/nft have, put together. It works
// in the network namespace of the calling thread, which is the host's, and is
// used by the start helper of every container as well as by package engine.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns/handover"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// Host is what containers are connected to.
type Host struct {
	RunRoot string // required: cleat's directory of what does not survive a reboot

	// Network returns a network by its id; one that does not exist is
	// spec.ErrNotFound. Required.
	Network func(id string) (netd.Network, error)
}

// Leases returns the addresses in use.
func (h Host) Leases() netd.Leases { return netd.NewLeases(filepath.Join(h.RunRoot, "net/leases")) }

// Lives returns the records of running containers.
func (h Host) Lives() netd.Lives { return netd.NewLives(filepath.Join(h.RunRoot, netd.LiveDir)) }

// lasts returns the records of the runs before, for the sake of their addresses.
func (h Host) lasts() netd.Lives { return netd.NewLives(filepath.Join(h.RunRoot, "net/last")) }

// Prepare leases the addresses of a container that is about to start, in control
// group cgroup, and records them. What an earlier run has left is replaced. If it
// fails, nothing stays leased.
func (h Host) Prepare(ctx context.Context, w netd.Wiring, id, cgroup string) (l netd.Live, err error) {
	var u undo.Stack
	defer u.OnError(ctx, &err)
	last, err := h.lasts().Load(id)
	if err != nil && !errors.Is(err, spec.ErrNotFound) {
		return netd.Live{}, err
	}
	l = netd.Live{
		ContainerID: id, Cgroup: cgroup, Ports: w.Ports, Activated: w.Activated, Loopback6: link.FiltersBridges6(), Table: w.Table,
		Resolver: w.Resolver, Names: w.Names, DNS: w.DNS, Internal: true,
	}
	for _, c := range w.Connections {
		n, e, err := h.lease(ctx, c, netd.Owner{ContainerID: id, Cgroup: cgroup}, last)
		if err != nil {
			return l, err
		}
		u.Push("release addresses", func(ctx context.Context) error { return h.Leases().Disconnect(ctx, e) })
		l.Internal = l.Internal && n.Internal
		l.Endpoints = append(l.Endpoints, e)
		l.Links = append(l.Links, c.Links...)
	}
	return l, h.record(ctx, l)
}

// lease takes the addresses of one connection. The network is looked at again
// afterwards: who removes one looks at its leases after it has hidden it, so one
// of both notices the other.
func (h Host) lease(ctx context.Context, c netd.Connection, o netd.Owner, last netd.Live) (netd.Network, netd.Endpoint, error) {
	n, err := h.Network(c.NetworkID)
	if err != nil {
		return netd.Network{}, netd.Endpoint{}, err
	}
	at := c.Attachment
	for _, e := range last.Endpoints {
		if e.NetworkID == c.NetworkID {
			at.Last4, at.Last6 = e.Addr4.Addr(), e.Addr6.Addr()
		}
	}
	e, err := h.Leases().Connect(ctx, &n, o, at)
	if errors.Is(err, spec.ErrConflict) { // it may be held by runs that were killed together with their end
		if _, sweepErr := h.Leases().Sweep(ctx, netd.Owner.Running); sweepErr != nil {
			return n, e, errors.Join(err, sweepErr)
		}
		e, err = h.Leases().Connect(ctx, &n, o, at)
	}
	if err != nil {
		return n, e, fmt.Errorf("network %q: %w", n.Name, err)
	}
	if _, err := h.Network(c.NetworkID); err != nil {
		return n, e, errors.Join(err, h.Leases().Disconnect(ctx, e))
	}
	return n, e, nil
}

// Plug plugs network namespace ns, a descriptor, into the networks of l, opens the
// published ports, and has names answered for.
func (h Host) Plug(ctx context.Context, l netd.Live, ns int) error {
	if l.Resolver {
		if err := h.Answer(ctx, l.ContainerID, ns); err != nil {
			return err
		}
	}
	for _, e := range l.Endpoints {
		if err := h.plugIn(ns, e); err != nil {
			return err
		}
	}
	return h.publish(ctx, l)
}

// Answer has names looked up for a container whose network namespace is ns, also if
// its sockets were lost: it opens those at which the container asks, and hands them to
// the name server, which the service manager starts when it is needed.
func (h Host) Answer(ctx context.Context, id string, ns int) error {
	ctx, cancel := context.WithTimeout(ctx, resolverWait)
	defer cancel()
	s, err := handover.Open(ns)
	if err != nil {
		return err
	}
	err = handover.Register(ctx, h.resolver(), id, s)
	if err != nil {
		err = fmt.Errorf("the name server of container networks (cleat-netd) cannot be reached: %w", err)
	}
	return errors.Join(err, s.Close())
}

// resolverWait bounds the wait for the name server.
const resolverWait = 30 * time.Second

// Unanswered returns those of lives whose names the name server should look up
// and does not, because it has lost their sockets. If it does not answer at all, that
// is the error.
func (h Host) Unanswered(ctx context.Context, lives []netd.Live) ([]netd.Live, error) {
	want := slices.DeleteFunc(slices.Clone(lives), func(l netd.Live) bool { return !l.Resolver })
	if len(want) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolverWait)
	defer cancel()
	answered, err := handover.List(ctx, h.resolver())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(want, func(l netd.Live) bool { return slices.Contains(answered, l.ContainerID) }), nil
}

func (h Host) resolver() string { return filepath.Join(h.RunRoot, ResolverSocket) }

// ResolverSocket is the socket of cleat-netd, below the runtime root.
const ResolverSocket = "netd.sock"

// Release gives back all that a container has on the host once its run has ended:
// ports, addresses, and its record. Its devices go with its namespace. With keep
// it gets the same addresses again if they are free when it starts.
func (h Host) Release(ctx context.Context, id string, keep Keep) error {
	l, err := h.Lives().Load(id)
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Resolver { // first: the sockets keep the namespace and its devices alive
		ctx, cancel := context.WithTimeout(ctx, resolverWait)
		defer cancel()
		if err = handover.Forget(ctx, h.resolver(), id); err != nil {
			err = errors.Join(err, unplug(l))
		}
	}
	lock, lockErr := fsx.AcquireShared(ctx, h.lockFile()) // Restore sees the ports and the record go together
	if lockErr != nil {
		return errors.Join(err, lockErr)
	}
	defer lock.Release()
	if ports := mappings(l); len(ports) > 0 {
		err = errors.Join(err, nft.New(l.Table).Remove(nft.State{Ports: ports}))
	}
	for _, e := range l.Endpoints {
		err = errors.Join(err, h.Leases().Disconnect(ctx, e))
	}
	if keep == KeepAddresses {
		err = errors.Join(err, h.lasts().Save(l))
	}
	if l.Activated {
		_ = os.Remove(h.UsedFile(id)) // it may never have been made
	}
	return errors.Join(err, h.Lives().Remove(id))
}

// unplug takes a container off its networks although its namespace stays.
func unplug(l netd.Live) error {
	var err error
	for _, e := range l.Endpoints {
		err = errors.Join(err, link.Unplug(e))
	}
	return err
}

// Keep says what is kept of a run that has ended.
type Keep int

// What can be kept.
const (
	KeepNothing Keep = iota
	KeepAddresses
)

// Forget removes what is remembered of the runs of a container that is removed.
func (h Host) Forget(id string) error { return h.lasts().Remove(id) }

// Sweep gives back what runs hold that have ended without their end being
// recorded, and returns the ids of their containers.
func (h Host) Sweep(ctx context.Context) ([]string, error) {
	lives, err := h.Lives().All()
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, l := range lives {
		if l.Running() {
			continue
		}
		swept = append(swept, l.ContainerID)
		if err := h.Release(ctx, l.ContainerID, KeepNothing); err != nil {
			return swept, err
		}
	}
	_, err = h.Leases().Sweep(ctx, netd.Owner.Running)
	return swept, err
}

// Namespace opens the network namespace of process pid. The caller closes it.
func Namespace(pid int) (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("process %d: %w", pid, spec.ErrNotFound)
	}
	return f, err
}
