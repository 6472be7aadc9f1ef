package wire

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// Reachable returns the addresses at which the world reaches a container: its
// first one of each family on a network with a way out. The zero address stands
// for none.
func Reachable(l netd.Live) (addr4, addr6 netip.Addr) {
	for _, e := range l.Endpoints {
		if e.Direct {
			continue
		}
		if a := e.Addr4.Addr(); !addr4.IsValid() && e.Gateway4.IsValid() {
			addr4 = a
		}
		if a := e.Addr6.Addr(); !addr6.IsValid() && e.Gateway6.IsValid() {
			addr6 = a
		}
	}
	return addr4, addr6
}

// mappings leads each published port that is not left to sockets to the container.
func mappings(l netd.Live) []nft.Mapping {
	ports := l.Ports
	if l.Activated {
		ports = l.Led
	}
	var m nft.Mapping
	m.Addr4, m.Addr6 = Reachable(l)
	all := make([]nft.Mapping, 0, len(ports))
	for _, p := range ports {
		m.Port = p
		if l.Loopback6 {
			all = append(all, notLoopback6(m)...)
		} else {
			all = append(all, m)
		}
	}
	return all
}

// notLoopback6 returns m without what leads [::1] to the container. The map of
// single addresses is asked before that of all: there [::1] leads to itself.
func notLoopback6(m nft.Mapping) []nft.Mapping {
	ip, own := m.Port.HostIP, netip.IPv6Loopback()
	switch {
	case ip == own:
		return nil
	case !m.Addr6.IsValid() || ip.IsValid() && (ip.Is4() || !ip.IsUnspecified()):
		return []nft.Mapping{m}
	}
	self := m.Port
	self.HostIP, self.ContainerPort = own, self.HostPort
	return []nft.Mapping{m, {Port: self, Addr6: own}}
}

// errFlushed means that somebody has flushed the firewall.
var errFlushed = errors.New("the firewall has been flushed")

// record saves the record of a run that begins, not while somebody who is not its
// owner changes that of the run before.
func (h Host) record(ctx context.Context, l netd.Live) error {
	lock, err := fsx.AcquireShared(ctx, h.lockFile())
	if err != nil {
		return err
	}
	defer lock.Release()
	return h.Lives().Save(l)
}

// update saves the record of a run by its owner. Who is not its owner may have
// changed meanwhile which ports are led: that stays.
func (h Host) update(ctx context.Context, l netd.Live) error {
	lock, err := fsx.AcquireShared(ctx, h.lockFile())
	if err != nil {
		return err
	}
	defer lock.Release()
	if now, err := h.Lives().Load(l.ContainerID); err == nil {
		l.Led, l.Closing = now.Led, now.Closing
	}
	return h.Lives().Save(l)
}

// change changes the record of a container that runs, and what the firewall leads
// to it. For one that does not run it returns spec.ErrNotFound.
func (h Host) change(ctx context.Context, id string, change func(*netd.Live)) error {
	lock, err := fsx.Acquire(ctx, h.lockFile())
	if err != nil {
		return err
	}
	now, err := h.changeLocked(id, change)
	lock.Release()
	if errors.Is(err, errFlushed) {
		return h.restoreTable(ctx, now.Table)
	}
	return err
}

func (h Host) changeLocked(id string, change func(*netd.Live)) (now netd.Live, err error) {
	before, err := h.Lives().Load(id)
	if err != nil {
		return now, err
	}
	now = before
	now.Led = slices.Clone(before.Led)
	change(&now)
	more, less := added(before, now), added(now, before)
	if len(less) > 0 {
		if err := nft.New(now.Table).Remove(nft.State{Ports: less}); err != nil {
			return now, err
		}
	}
	if err := h.Lives().Save(now); err != nil || len(more) == 0 {
		return now, err
	}
	err = nft.New(now.Table).Extend(nft.State{Ports: more})
	if errors.Is(err, spec.ErrNotFound) {
		err = errFlushed
	}
	return now, err
}

// added returns the mappings of now that before has not.
func added(before, now netd.Live) []nft.Mapping {
	had := mappings(before)
	return slices.DeleteFunc(mappings(now), func(m nft.Mapping) bool { return slices.Contains(had, m) })
}

// ignoreGone is for changes of a run that may have ended: then there is nothing to
// change.
func ignoreGone(err error) error {
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	return err
}

// Lead has the firewall lead new connections to port p of a container that
// connections start, past the socket on the host. It does nothing if the run is
// about to end.
func (h Host) Lead(ctx context.Context, id string, p netd.Port) error {
	return ignoreGone(h.change(ctx, id, func(l *netd.Live) {
		if l.Activated && !l.Closing && !slices.Contains(l.Led, p) {
			l.Led = append(l.Led, p)
		}
	}))
}

// Close gives new connections to a container that connections start to its sockets
// on the host again, because its run is about to end. What is open stays open. If
// there is no run, it does nothing.
func (h Host) Close(ctx context.Context, id string) error {
	var led []netd.Port
	err := h.change(ctx, id, func(l *netd.Live) {
		if l.Activated {
			led, l.Led, l.Closing = l.Led, nil, true
		}
	})
	return errors.Join(ignoreGone(err), link.ForgetFlows(led))
}

// Open takes Close back: the run goes on after all.
func (h Host) Open(ctx context.Context, id string) error {
	return ignoreGone(h.change(ctx, id, func(l *netd.Live) { l.Closing = false }))
}

// UsedFile returns the file whose modification time tells when a container that may
// be put to sleep was last seen to be used in its run.
func (h Host) UsedFile(id string) string { return filepath.Join(h.RunRoot, "net/used", id) }

// Rename gives a container that runs the names by which others find it.
func (h Host) Rename(ctx context.Context, id string, names []string) error {
	return ignoreGone(h.change(ctx, id, func(l *netd.Live) { l.Names = names }))
}
