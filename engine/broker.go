package engine

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	units "github.com/cleat-project/cleat/packaging/units"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

const brokerSocket = "cleat-stdiod.socket"

// ensureBroker makes sure that the stdio broker listens. Where cleat was not
// installed, as in a checkout, its units are not there either: they are written
// beside those of boot containers, which need them after the next boot.
func (e *Engine) ensureBroker(ctx context.Context) error {
	if fsx.Exists(e.stdioSocket()) {
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	props, err := conn.Properties(ctx, brokerSocket)
	if err != nil {
		return err
	}
	if props.LoadState == "not-found" {
		if err := e.writeUnits(ctx, conn); err != nil {
			return err
		}
	}
	if err := conn.Start(ctx, brokerSocket); err != nil {
		return fmt.Errorf("start the stdio broker: %w", err)
	}
	if !fsx.Exists(e.stdioSocket()) {
		return fmt.Errorf("%s does not listen on %s: its unit was made for another --runroot: %w", brokerSocket, e.stdioSocket(), spec.ErrConflict)
	}
	return nil
}

// writeUnits writes cleat's own units as packages install them.
func (e *Engine) writeUnits(ctx context.Context, conn *supervisor.Conn) error {
	places := strings.NewReplacer("@LIBEXEC@", e.opt.Libexec, "@RUNROOT@", e.opt.RunRoot)
	names, err := fs.Glob(units.FS, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(units.FS, name)
		if err != nil {
			return err
		}
		if err := conn.WriteUnitFile(ctx, name, places.Replace(string(text))); err != nil {
			return err
		}
	}
	return nil
}
