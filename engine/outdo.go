package engine

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// outdo brings limits of c that were changed into force where "systemctl
// set-property" has set others before, which go before those of the unit's file:
// the last word counts, whoever says it. What an administrator has written into a
// drop-in stays, and the caller is told.
func (e *Engine) outdo(ctx context.Context, c spec.Container, limits []unitgen.Property) error {
	if len(limits) == 0 || !hasUnitFiles(c) {
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	values, err := conn.Values(ctx, c.UnitName(), append(unitgen.LimitNames(), "DropInPaths")...)
	if err != nil {
		return err
	}
	dropIns, _ := values["DropInPaths"].([]string)
	if len(dropIns) == 0 {
		return nil
	}
	for _, p := range unitgen.Differing(limits, values) {
		at := slices.IndexFunc(dropIns, func(path string) bool { return setsProperty(path, p.Name) })
		if at < 0 {
			e.warnf("%s= is as a drop-in of %s says, not as cleat does: see 'systemctl cat %[2]s'", p.Name, c.UnitName())
			continue
		}
		runtime := strings.HasPrefix(dropIns[at], "/run/")
		if err := conn.SetProperties(ctx, c.UnitName(), runtime, p); err != nil {
			return err
		}
	}
	return nil
}

// setsProperty reports whether a drop-in is the one that "systemctl set-property"
// keeps a property in.
func setsProperty(dropIn, property string) bool {
	dir, file := path.Split(dropIn)
	return strings.Contains(dir, "/system.control/") && file == "50-"+strings.TrimSuffix(property, "PerSecUSec")+".conf"
}
