package supervisor

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Values reads the named properties of one unit, from whatever interface has them,
// as godbus decodes them. One that the unit does not have is left out.
func (c *Conn) Values(ctx context.Context, unit string, names ...string) (map[string]any, error) {
	values := map[string]any{}
	for _, iface := range interfaces(unit) {
		body, err := c.callOn(ctx, unitPath(unit), propertiesInterface, "GetAll", iface)
		if err != nil {
			return nil, fmt.Errorf("read the properties of %s: %w", unit, err)
		}
		var all map[string]dbus.Variant
		if err := dbus.Store(body, &all); err != nil {
			return nil, fmt.Errorf("read the properties of %s: %w", unit, err)
		}
		for _, name := range names {
			if v, ok := all[name]; ok {
				values[name] = v.Value()
			}
		}
	}
	return values, nil
}
