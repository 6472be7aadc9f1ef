package engine

import (
	"context"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

// A container that comes back at boot is enabled by its first start, and not
// again: whether it is enabled is the administrator's to change from then on, with
// systemctl. That cleat has done its part is noted beside the container.

// enable makes c come back at boot, unless cleat has enabled it
// before. Then it is as somebody left it.
func (e *Engine) enable(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	if e.state.Enabled(c.ID) {
		return nil
	}
	if err := conn.Enable(ctx, bootUnit(c)); err != nil {
		return err
	}
	return e.state.SetEnabled(c.ID, true)
}

// disable takes enable back.
func (e *Engine) disable(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	if err := e.state.SetEnabled(c.ID, false); err != nil {
		return err
	}
	return conn.Disable(ctx, bootUnit(c))
}

// forgetEnabled prepares the change of c's unit for another one, which is to be
// enabled if the present one is.
func (e *Engine) forgetEnabled(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	if !e.state.Enabled(c.ID) {
		return nil
	}
	props, err := conn.Properties(ctx, bootUnit(c))
	if err != nil && !isNotFound(err) {
		return err
	}
	if props.UnitFileState == "disabled" {
		return nil
	}
	return e.state.SetEnabled(c.ID, false)
}
