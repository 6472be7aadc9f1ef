package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// Remove takes away what networks have on the host, the firewall called table,
// and forwarding that was turned on for them: cleat is leaving the machine. While
// a container runs it fails and changes nothing. Trouble with one thing does not
// keep the others.
func (h Host) Remove(ctx context.Context, table string, networks []netd.Network) error {
	lives, release, err := h.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if len(lives) > 0 {
		return fmt.Errorf("remove networks: container %s runs: %w", spec.ShortID(lives[0].ContainerID), spec.ErrConflict)
	}
	for i := range networks {
		err = errors.Join(err, link.Drop(&networks[i]))
	}
	return errors.Join(err, nft.New(table).CleanUp(), link.StopForwarding())
}
