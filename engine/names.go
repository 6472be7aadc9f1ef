package engine

import (
	"context"

	"github.com/cleat-project/cleat/state"
)

// ContainerName is the name of a container with its id.
type ContainerName = state.Named

// ContainerNames returns the names of all containers. It is much cheaper than List:
// neither containers nor systemd are asked.
func (e *Engine) ContainerNames(context.Context) ([]ContainerName, error) { return e.state.Names() }

// ImageNames returns the names with a tag that images have. It is much cheaper
// than Images.
func (e *Engine) ImageNames(context.Context) ([]Reference, error) { return e.images.Names() }
