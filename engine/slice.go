package engine

import (
	"context"
	"fmt"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// SliceOptions says what a slice is to be.
type SliceOptions struct {
	Name        string       // required; "cleat-NAME.slice", see spec.Container.Slice
	Description string       // for people
	Limits      *spec.Limits // of everything in it together; nil means none
}

// SetSlice gives a slice its limits, which last over a reboot. Containers that
// run in it have the new ones at once. Without limits a slice needs nothing:
// then what an earlier call has set is taken back.
func (e *Engine) SetSlice(ctx context.Context, opt SliceOptions) error {
	if opt.Limits == nil {
		return e.RemoveSlice(ctx, opt.Name)
	}
	if err := checkLimits(*opt.Limits); err != nil {
		return err
	}
	u, err := unitgen.Slice(opt.Name, opt.Description, *opt.Limits)
	if err != nil {
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	e.warnLimits(*opt.Limits)
	if err := conn.WriteUnitFile(ctx, u.Name, unitgen.Text(u)); err != nil {
		return err
	}
	// systemd makes a slice up where something is in one without a file, and does
	// not notice that one has come.
	props, err := conn.Properties(ctx, u.Name)
	if err != nil || props.FragmentPath != "" && !props.NeedReload {
		return err
	}
	return conn.Reload(ctx)
}

// RemoveSlice takes back the limits of a slice. One that has none is no error.
func (e *Engine) RemoveSlice(ctx context.Context, name string) error {
	if _, err := unitgen.Slice(name, "", spec.Limits{}); err != nil { // the name becomes that of a file
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if !conn.HasUnitFile(name) {
		return nil
	}
	if err := conn.RemoveUnitFile(ctx, name); err != nil {
		return fmt.Errorf("take back the limits of %s: %w", name, err)
	}
	return refresh(ctx, conn, name)
}

// SliceIs reports whether SetSlice would change nothing.
func (e *Engine) SliceIs(ctx context.Context, opt SliceOptions) (bool, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return false, err
	}
	if opt.Limits == nil {
		return !conn.HasUnitFile(opt.Name), nil
	}
	u, err := unitgen.Slice(opt.Name, opt.Description, *opt.Limits)
	if err != nil {
		return false, err
	}
	return conn.UnitFileIs(opt.Name, unitgen.Text(u)), nil
}
