package engine

import (
	"context"
	"strings"

	"github.com/cleat-project/cleat/unitgen"
)

// UnitText returns the units that a container is, as unit files, each below a
// line that names it. Ports that are chosen at each start are not among them.
func (e *Engine) UnitText(ctx context.Context, ref string) (string, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return "", err
	}
	units, err := e.containerUnits(ctx, c, c.Network.Ports)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, u := range units {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("# " + u.Name + "\n" + unitgen.Text(u))
	}
	return b.String(), nil
}
