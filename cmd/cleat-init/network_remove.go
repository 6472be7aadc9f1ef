package main

import (
	"context"
	"errors"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// removeNetworks takes away what the networks have on the host. It is what the
// scripts of the packages run when cleat is removed; the first container after it
// comes back makes everything anew.
func removeNetworks(ctx context.Context, store *state.Store) error {
	ids, err := store.NetworkIDs()
	if err != nil {
		return err
	}
	var networks []netd.Network
	for _, id := range ids {
		var n netd.Network
		switch err := store.LoadNetwork(id, &n); {
		case err == nil:
			networks = append(networks, n)
		case !errors.Is(err, spec.ErrNotFound): // else somebody has just removed it
			return err
		}
	}
	return wires(store).Remove(ctx, nft.TableOf(store.Place()), networks)
}
