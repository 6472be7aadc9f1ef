package engine

import (
	"context"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// UnitInspect is what systemd says of the unit that a container is. Docker has
// nothing like it.
type UnitInspect struct {
	Name        string   // for example "cleat-web.service"
	FileState   string   // "enabled", "disabled", "transient", "generated"…, see systemctl(1); "" without a file
	DropInPaths []string // files by which an administrator changed the unit
	Requires    []string // units of the host that it was tied to
	After       []string // units of the host that it was ordered after
}

// inspectUnit asks systemd for the unit of c, and returns the limits that are in
// force: an administrator may have changed them. Those of a unit that systemd does
// not have are c's own.
func (e *Engine) inspectUnit(ctx context.Context, c spec.Container) (*UnitInspect, spec.Limits, error) {
	u := &UnitInspect{Name: c.UnitName(), DropInPaths: []string{}, Requires: emptyNotNil(c.Requires), After: emptyNotNil(c.After)}
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, spec.Limits{}, err
	}
	values, err := conn.Values(ctx, u.Name, append(unitgen.LimitNames(), "LoadState", "UnitFileState", "DropInPaths")...)
	if err != nil {
		return nil, spec.Limits{}, err
	}
	if values["LoadState"] != "loaded" {
		return u, c.Limits, nil
	}
	u.FileState, _ = values["UnitFileState"].(string)
	if paths, ok := values["DropInPaths"].([]string); ok && paths != nil {
		u.DropInPaths = paths
	}
	limits, err := unitgen.EffectiveLimits(c, values)
	return u, limits, err
}
