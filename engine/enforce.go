package engine

import (
	"context"
	"slices"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// enforce brings limits of c that were changed, and that its unit's file has
// already, into force. Two things are in the way. What "systemctl set-property" has
// set before goes before the file: the last word counts, whoever says it. And a
// daemon-reload (systemd 257) leaves the control group of a unit that runs as it is,
// so for that they are set as well. What an administrator has written into a drop-in
// stays, and the caller is told.
func (e *Engine) enforce(ctx context.Context, conn *supervisor.Conn, c spec.Container, up bool, limits []unitgen.Property) error {
	unit := c.UnitName()
	if len(limits) == 0 {
		return refresh(ctx, conn, unit)
	}
	var lasting []unitgen.Property
	for _, p := range limits {
		if conn.SetsLasting(unit, p.Name) {
			lasting = append(lasting, p)
		}
		if err := conn.ForgetUntilBoot(unit, p.Name); err != nil {
			return err
		}
	}
	if len(lasting) > 0 {
		if err := conn.SetProperties(ctx, unit, false, lasting...); err != nil {
			return err
		}
	}
	if err := refresh(ctx, conn, unit); err != nil {
		return err
	}
	values, err := conn.Values(ctx, unit, append(unitgen.LimitNames(), "LoadState")...)
	if err != nil || values["LoadState"] != "loaded" {
		return err
	}
	var set []unitgen.Property
	other := unitgen.Differing(limits, values)
	for _, p := range limits {
		is := func(q unitgen.Property) bool { return q.Name == p.Name }
		switch {
		case slices.ContainsFunc(other, is):
			e.warnf("%s= is as a drop-in of %s says, not as cleat does: see 'systemctl cat %[2]s'", p.Name, unit)
		case !slices.ContainsFunc(lasting, is):
			set = append(set, p)
		}
	}
	if !up || len(set) == 0 {
		return nil
	}
	const runtime = true // the unit's file has them for good
	return conn.SetProperties(ctx, unit, runtime, set...)
}
