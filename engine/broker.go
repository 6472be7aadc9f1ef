package engine

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd/wire"
	units "github.com/cleat-project/cleat/packaging/units"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// The units of cleat's daemons that containers need.
const (
	brokerSocket   = unitgen.StdioSocket
	resolverSocket = unitgen.NamesSocket
)

// ensureDaemons makes sure that those of cleat's daemons listen that the start of
// c needs.
func (e *Engine) ensureDaemons(ctx context.Context, c spec.Container) error {
	if err := e.ensureBroker(ctx); err != nil {
		return err
	}
	if c.Watched() {
		if err := e.ensureSocket(ctx, unitgen.HealthSocket, e.healthSocket()); err != nil {
			return err
		}
	}
	if asksForNames(c) {
		return e.ensureResolver(ctx)
	}
	return nil
}

// ensureBroker makes sure that the stdio broker listens.
func (e *Engine) ensureBroker(ctx context.Context) error {
	return e.ensureSocket(ctx, brokerSocket, e.stdioSocket())
}

// ensureResolver makes sure that the name server of containers listens.
func (e *Engine) ensureResolver(ctx context.Context) error {
	return e.ensureSocket(ctx, resolverSocket, filepath.Join(e.opt.RunRoot, wire.ResolverSocket))
}

// ensureSocket makes sure that a socket unit listens at path. Where cleat was not
// installed, as in a checkout, its units are not there either: they are written
// beside those of boot containers, which need them after the next boot.
func (e *Engine) ensureSocket(ctx context.Context, unit, path string) error {
	if fsx.Exists(path) {
		return nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	props, err := conn.Properties(ctx, unit)
	if err != nil {
		return err
	}
	if props.LoadState == "not-found" {
		if err := e.writeUnits(ctx, conn); err != nil {
			return err
		}
	}
	if err := conn.Start(ctx, unit); err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	if !fsx.Exists(path) {
		return fmt.Errorf("%s does not listen on %s: its unit was made for another --runroot: %w", unit, path, spec.ErrConflict)
	}
	return nil
}

// writeUnits writes cleat's own units as packages install them.
func (e *Engine) writeUnits(ctx context.Context, conn *supervisor.Conn) error {
	places := strings.NewReplacer("@LIBEXEC@", e.opt.Libexec, "@ROOT@", e.opt.Root, "@RUNROOT@", e.opt.RunRoot)
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
