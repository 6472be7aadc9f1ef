package engine

import "context"

// Summary is what lists show of a container beyond the container itself, in
// Docker's form.
type Summary struct {
	Container
	Mounts   []MountPoint
	Networks map[string]*EndpointInspect // with the addresses of one that runs
}

// Summarize adds to containers what lists show of them.
func (e *Engine) Summarize(_ context.Context, list []Container) ([]Summary, error) {
	lives := e.wires().Lives()
	out := make([]Summary, 0, len(list))
	for _, c := range list {
		live, err := lives.Load(c.ID)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		out = append(out, Summary{
			Container: c, Mounts: inspectMounts(c.Mounts, e.state.VolumeDir), Networks: inspectNetworks(c.Container, live, nil).Networks,
		})
	}
	return out, nil
}
