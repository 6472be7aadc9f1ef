package engine

import (
	"context"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// checkSurvival refuses a container that is to survive a soft reboot and cannot.
func (e *Engine) checkSurvival(ctx context.Context, c spec.Container) error {
	if !c.SurviveSoftReboot {
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	version, err := conn.Version(ctx)
	if err != nil {
		return err
	}
	return unitgen.CheckSurvival(c, unitgen.ServiceInput{SystemdVersion: version})
}
