package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/state"
)

// listenFD is where the service manager hands a socket over: SD_LISTEN_FDS_START.
const listenFD = 3

// restoreNetworks brings back what the running containers need on the host. It
// is what cleat-network-restore.service runs: because somebody has said so, or
// because the kernel has, on the socket of the same name, told of a deletion in
// nftables. Most of those have nothing to do with cleat, so then it looks first.
func restoreNetworks(ctx context.Context, store *state.Store) error {
	h, table := wires(store), nft.TableOf(store.Place())
	heard := 0
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		var err error
		if heard, err = nft.Watch(listenFD); err != nil {
			return fmt.Errorf("watch the firewall: %w", err)
		}
	}
	restore := h.Restore
	if heard > 0 {
		restore = h.Check
	}
	if err := restore(ctx, table); err != nil {
		return fmt.Errorf("restore networks: %w", err)
	}
	return nil
}
