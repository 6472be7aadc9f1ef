package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// NetworkRemove removes a network that no running container is on. Containers
// that do not run and were on it cannot start any more.
func (e *Engine) NetworkRemove(ctx context.Context, ref string) error {
	if isPseudo(ref) {
		return predefined(ref)
	}
	n, err := e.findNetwork(ctx, ref)
	if err != nil {
		return err
	}
	if n.Default() {
		return predefined(n.Name)
	}
	lock, err := e.lockNetworks(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	return e.removeNetwork(ctx, n)
}

func predefined(name string) error {
	return conflict("%s is a pre-defined network and cannot be removed", name)
}

// removeNetwork removes n; the caller holds the lock of all networks. Containers
// that start do not wait for that lock: they take their addresses and then look
// whether the network is still there. So the record is hidden first, and the
// leases looked at afterwards; one of both notices the other.
func (e *Engine) removeNetwork(ctx context.Context, n netd.Network) error {
	if err := e.checkUnused(ctx, n); err != nil { // spares the containers that start a false alarm
		return err
	}
	if err := e.state.HideNetwork(n.ID); err != nil {
		return err
	}
	if err := e.finishRemoval(ctx, n); err != nil {
		return err
	}
	e.tellNetwork("destroy", n)
	return nil
}

// finishRemoval removes what belongs to a network whose record is hidden, and at
// last that. If it cannot, the network is there again.
func (e *Engine) finishRemoval(ctx context.Context, n netd.Network) error {
	err := e.checkUnused(ctx, n)
	if err == nil {
		err = e.dismantle(ctx, n)
	}
	if err != nil {
		return errors.Join(err, e.state.RestoreNetwork(n.ID))
	}
	return e.state.DropNetwork(n.ID)
}

// checkUnused returns an error that wraps spec.ErrConflict if a container holds
// an address of n. What runs hold that have ended is given back.
func (e *Engine) checkUnused(ctx context.Context, n netd.Network) error {
	leases, err := e.wires().Leases().Of(n.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(leases, func(l netd.Lease) bool { return !l.Owner.Running() }) {
		if _, err := e.wires().Leases().Sweep(ctx, netd.Owner.Running); err != nil {
			return err
		}
		if leases, err = e.wires().Leases().Of(n.ID); err != nil {
			return err
		}
	}
	var users []string
	for _, l := range leases {
		name := spec.ShortID(l.Owner.ContainerID)
		if c, err := e.state.Load(l.Owner.ContainerID); err == nil {
			name = c.Name
		}
		if !slices.Contains(users, name) {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		return nil
	}
	slices.Sort(users)
	return conflict("network %s has active endpoints: %s; stop or disconnect them first", n.Name, strings.Join(users, ", "))
}

// dismantle removes what an unused network has on the host.
func (e *Engine) dismantle(ctx context.Context, n netd.Network) error {
	if err := nft.New(e.table()).Remove(nft.State{Networks: []nft.Network{nft.NetworkOf(&n)}}); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	if err := link.Drop(&n); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	return e.wires().Leases().Forget(ctx, n.ID)
}

// lockNetworks takes the lock under which networks are made and removed, and ends
// the removals that were killed.
func (e *Engine) lockNetworks(ctx context.Context) (*fsx.Lock, error) {
	lock, err := e.state.LockNetworks(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := e.state.HiddenNetworkIDs()
	if err != nil {
		lock.Release()
		return nil, err
	}
	for _, id := range ids {
		if err := e.endRemoval(ctx, id); err != nil {
			e.warnf("the removal of network %s was interrupted and cannot be ended: %v, ignoring", spec.ShortID(id), err)
		}
	}
	return lock, nil
}

// endRemoval ends the removal of a network that was killed. One that could not
// have succeeded is taken back. The caller holds the lock of all networks.
func (e *Engine) endRemoval(ctx context.Context, id string) error {
	var n netd.Network
	if err := e.state.LoadHiddenNetwork(id, &n); err != nil {
		return err
	}
	err := e.finishRemoval(ctx, n)
	if errors.Is(err, spec.ErrConflict) {
		return nil
	}
	return err
}

// settleRemovals ends the removals that were killed. It costs next to nothing if
// there are none; one that is under way is waited for.
func (e *Engine) settleRemovals(ctx context.Context) error {
	ids, err := e.state.HiddenNetworkIDs()
	if err != nil || len(ids) == 0 {
		return err
	}
	lock, err := e.lockNetworks(ctx)
	if err != nil {
		return err
	}
	lock.Release()
	return nil
}

// checkNetworks finds removals of networks that were killed.
func (e *Engine) checkNetworks(ctx context.Context, repair bool) ([]Finding, error) {
	ids, err := e.state.HiddenNetworkIDs()
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if repair {
		err = e.settleRemovals(ctx)
	} else if lock, lockErr := e.state.LockNetworks(ctx); lockErr != nil {
		err = lockErr
	} else { // what is hidden now is no removal under way
		ids, err = e.state.HiddenNetworkIDs()
		lock.Release()
	}
	var found []Finding
	for _, id := range ids {
		found = append(found, Finding{"network " + spec.ShortID(id), "half-removed network", repair && err == nil})
	}
	return found, err
}
