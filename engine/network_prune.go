package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/spec"
)

// PruneNetworks removes the networks that no container is on, be it running or
// not, and that match f. One that comes into use meanwhile stays.
func (e *Engine) PruneNetworks(ctx context.Context, f PruneFilter) (Pruned, error) {
	lock, err := e.lockNetworks(ctx)
	if err != nil {
		return Pruned{}, err
	}
	defer lock.Release()
	all, err := e.networks()
	if err != nil {
		return Pruned{}, err
	}
	used, err := e.networksInUse()
	if err != nil {
		return Pruned{}, err
	}
	gone := PrunedKind{Name: "Networks"}
	var errs []error
	for _, n := range all {
		if n.Default() || used[n.ID] || !f.match(n.Labels, n.Created) {
			continue
		}
		switch err := e.removeNetwork(ctx, n); {
		case err == nil:
			gone.Removed = append(gone.Removed, n.Name)
		case !errors.Is(err, spec.ErrConflict):
			errs = append(errs, err)
		}
	}
	slices.Sort(gone.Removed)
	p := Pruned{Kinds: []PrunedKind{gone}}
	e.tellPruned(event.Network, p)
	return p, errors.Join(errs...)
}
