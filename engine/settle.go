package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// A container's record says everything; its names, start plan and unit follow
// from it. A verb that changes the record marks the container as unsettled,
// changes it in one step, and brings the rest in line (settle). If it is killed
// on the way, whoever locks the container next goes on from there.

// withLock calls fn while it holds the lock of container id, which it settles
// before if there is need.
func (e *Engine) withLock(ctx context.Context, id string, fn func(spec.Container) error) error {
	return e.state.WithLock(ctx, id, func(c spec.Container) error {
		if !e.state.Unsettled(id) {
			return fn(c)
		}
		settled, err := e.resettle(ctx, c)
		if err != nil {
			return fmt.Errorf("finish the change of %q that was interrupted: %w", c.Name, err)
		}
		return fn(settled)
	})
}

// resettle settles c without knowing what has changed.
func (e *Engine) resettle(ctx context.Context, c spec.Container) (spec.Container, error) {
	st, err := e.status(ctx, c)
	if err != nil {
		return c, err
	}
	all, err := unitgen.AllLimits(c)
	if err != nil {
		return c, err
	}
	if err := e.settleNetworks(ctx, c); err != nil {
		return c, err
	}
	return e.settle(ctx, c, isUpStatus(st), all)
}

// settle brings everything in line with the record of c, whose lock is held, and
// returns it: with another unit, if that could be changed. Limits are the
// properties of its unit that have changed.
func (e *Engine) settle(ctx context.Context, c spec.Container, up bool, limits []unitgen.Property) (_ spec.Container, err error) {
	if up {
		err = e.settleRunning(ctx, c, limits)
	} else {
		c, err = e.settleStopped(ctx, c, limits)
	}
	if err != nil {
		return c, err
	}
	if err := e.settlePlan(ctx, c); err != nil {
		return c, err
	}
	if err := e.state.ReleaseNames(c); err != nil {
		return c, err
	}
	return c, e.state.MarkSettled(c.ID)
}

// settlePlan brings the start plan in line with the record. What else the plan
// has cannot change.
func (e *Engine) settlePlan(ctx context.Context, c spec.Container) error {
	a, err := plan.LoadAnnex(e.state.Dir(c.ID))
	if err != nil {
		return err
	}
	renamed := a.Name != c.Name
	a.Name, a.Unit, a.Restart = c.Name, c.UnitName(), c.Restart
	a.Stdio.Fields = slices.Clone(a.Stdio.Fields)
	for i, f := range a.Stdio.Fields {
		if strings.HasPrefix(f, "CONTAINER_NAME=") {
			a.Stdio.Fields[i] = "CONTAINER_NAME=" + c.Name
		}
	}
	data, err := a.Encode()
	if err != nil {
		return err
	}
	if err := e.state.SaveFiles(c.ID, map[string][]byte{plan.AnnexFile: data}); err != nil {
		return err
	}
	if !renamed {
		return nil
	}
	// Without one of its networks it cannot start, whatever it is called.
	return ignoreNotFound(e.rewire(ctx, c))
}

// settleStopped gives c, which has nothing running, the unit that follows from
// its name, and writes or removes the files of it as the restart policy says.
func (e *Engine) settleStopped(ctx context.Context, c spec.Container, limits []unitgen.Property) (spec.Container, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return c, err
	}
	if unit := e.freeUnit(c); unit != c.Unit {
		if c, err = e.moveUnit(ctx, conn, c, unit); err != nil {
			return c, err
		}
	}
	run, err := e.state.LoadRun(c.ID)
	if err != nil {
		return c, err
	}
	switch {
	case !hasUnitFiles(c):
		if err := e.state.SetEnabled(c.ID, false); err != nil {
			return c, err
		}
		return c, e.dropUnits(ctx, conn, c)
	case run.StartedAt.IsZero() && run.FinishedAt.IsZero():
		return c, nil // its first start writes them
	}
	enable := c.Restart.Boot() && (!run.Stopped || c.Restart.Mode != spec.RestartUnlessStopped)
	if err := e.writeBootUnits(ctx, conn, c, enable); err != nil || len(limits) == 0 {
		return c, err
	}
	return c, e.enforce(ctx, conn, c, false, limits)
}

// moveUnit makes c, which has nothing running, another unit: "" is the one that
// follows from its name.
func (e *Engine) moveUnit(ctx context.Context, conn *supervisor.Conn, c spec.Container, unit string) (spec.Container, error) {
	next := withUnit(c, unit)
	if next.UnitName() != c.UnitName() {
		if err := e.forgetEnabled(ctx, conn, c); err != nil {
			return c, err
		}
		if err := e.dropUnits(ctx, conn, c); err != nil {
			return c, err
		}
		if err := conn.MoveProperties(c.UnitName(), next.UnitName()); err != nil {
			return c, err
		}
	}
	if err := e.state.Update(next); err != nil {
		return c, err
	}
	return next, e.state.UnpinUnit(c.UnitName(), c.ID)
}

// settleUnit gives c, which is about to be started, the unit that follows from its
// name, if it has another one from before a renaming and that has become free.
func (e *Engine) settleUnit(ctx context.Context, c spec.Container) (spec.Container, error) {
	if e.freeUnit(c) == c.Unit {
		return c, nil
	}
	if err := e.state.MarkUnsettled(c.ID); err != nil {
		return c, err
	}
	return e.settle(ctx, c, false, nil)
}

// avoidUnit gives c, which has just been made, another unit if the one that
// follows from its name is still that of a container that was renamed.
func (e *Engine) avoidUnit(ctx context.Context, c *spec.Container) error {
	unit := e.freeUnit(*c)
	if unit == "" {
		return nil
	}
	if err := e.state.MarkUnsettled(c.ID); err != nil {
		return err
	}
	c.Unit = unit
	if err := e.state.Update(*c); err != nil {
		return err
	}
	if err := e.settlePlan(ctx, *c); err != nil {
		return err
	}
	return e.state.MarkSettled(c.ID)
}

// settleRunning brings the unit of c, which is at work, in line. Its name stays.
// What a unit file says is in force at once, but for a unit that was started
// without one: then only the limits are, and the rest from the next start on.
func (e *Engine) settleRunning(ctx context.Context, c spec.Container, limits []unitgen.Property) error {
	if limits == nil {
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	props, err := conn.Properties(ctx, c.UnitName())
	if err != nil {
		return err
	}
	transient := props.UnitFileState == "transient"
	if hasUnitFiles(c) || !transient {
		if err := e.writeBootUnits(ctx, conn, c, c.Restart.Boot()); err != nil {
			return err
		}
	}
	if !hasUnitFiles(c) && transient {
		if err := e.state.SetEnabled(c.ID, false); err != nil {
			return err
		}
		if err := e.dropUnitFiles(ctx, conn, c); err != nil {
			return err
		}
	}
	if !transient {
		return e.enforce(ctx, conn, c, true, limits)
	}
	if len(limits) == 0 {
		return nil
	}
	const runtime = true // a transient unit has no other settings
	return conn.SetProperties(ctx, c.UnitName(), runtime, limits...)
}

// writeBootUnits writes the unit files of c and enables its service, or disables
// it.
func (e *Engine) writeBootUnits(ctx context.Context, conn *supervisor.Conn, c spec.Container, enable bool) error {
	ports, err := e.chosenPorts(c)
	if err != nil {
		return err
	}
	units, err := e.containerUnits(ctx, c, ports)
	if err != nil {
		return err
	}
	return e.writeUnitFiles(ctx, conn, c, units, enable)
}

// dropUnits ends what is left of the units of c, whose run is over, and removes
// their files.
func (e *Engine) dropUnits(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	for _, name := range unitNames(c) {
		if err := settle(ctx, conn, name); err != nil {
			return err
		}
	}
	return e.dropUnitFiles(ctx, conn, c)
}

// dropUnitFiles removes the unit files of c, if it has some.
func (e *Engine) dropUnitFiles(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	for _, name := range unitNames(c) {
		if err := dropUnitFile(ctx, conn, name); err != nil {
			return err
		}
	}
	return nil
}

// dropUnitFile disables a unit and removes its file, if it has one.
func dropUnitFile(ctx context.Context, conn *supervisor.Conn, name string) error {
	if !conn.HasUnitFile(name) {
		return nil
	}
	if err := conn.Disable(ctx, name); err != nil && !isNotFound(err) {
		return err
	}
	if err := conn.RemoveUnitFile(ctx, name); err != nil {
		return err
	}
	return refresh(ctx, conn, name)
}

// unitNames returns the units that c has.
func unitNames(c spec.Container) []string {
	names := []string{c.UnitName()}
	if len(c.Network.Ports) > 0 || c.Network.PublishAll { // also if it has been disconnected from all networks since
		names = append(names, helperUnits(c)...)
	}
	return names
}

// checkUnsettled finds containers whose change was interrupted.
func (e *Engine) checkUnsettled(ctx context.Context, repair bool) ([]Finding, error) {
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range ids {
		lock := e.state.TryLock(id)
		if lock == nil || !e.state.Unsettled(id) {
			lock.Release()
			continue // a change is under way, or there was none
		}
		lock.Release()
		f := Finding{Object: "container " + spec.ShortID(id), Problem: "a change of it was interrupted"}
		if repair {
			if err := e.withLock(ctx, id, func(spec.Container) error { return nil }); err != nil && !isNotFound(err) {
				return found, err
			}
			f.Repaired = true
		}
		found = append(found, f)
	}
	return found, nil
}
