package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// checkDependencies refuses units that no container can be tied to. Whether they
// exist shows at the start: they may be installed later.
func checkDependencies(c spec.Container) error {
	for _, list := range [][]string{c.Requires, c.After} {
		for _, name := range list {
			if err := unitgen.CheckDependency(name); err != nil {
				return err
			}
			if name == c.UnitName() {
				return invalid("container %q cannot depend on itself", c.Name)
			}
		}
	}
	return nil
}

// explainRequired returns which of the units that c requires are in the way of its
// start, "" if none is.
func (e *Engine) explainRequired(ctx context.Context, conn *supervisor.Conn, c spec.Container) string {
	var bad []string
	for _, name := range c.Requires {
		p, err := conn.Properties(ctx, name)
		switch {
		case err != nil:
		case p.LoadState == "not-found":
			bad = append(bad, fmt.Sprintf("it requires %s, which does not exist on this host", name))
		case p.LoadState != "loaded":
			bad = append(bad, fmt.Sprintf("it requires %s, which is %s: see 'systemctl status %s'", name, p.LoadState, name))
		case p.ActiveState == "failed":
			bad = append(bad, fmt.Sprintf("it requires %s, which failed (%s): see 'journalctl -u %s'", name, p.Result, name))
		}
	}
	return strings.Join(bad, "; ")
}
