package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Watch follows one unit. It is made by Conn.Watch, used by one goroutine, and
// ended by Close.
type Watch struct {
	conn  *Conn
	unit  string
	sub   *subscription
	state UnitProperties
	fresh bool // state has not been returned by Next yet
}

// Watch begins to follow a unit. A unit that does not exist may be watched: its
// LoadState is "not-found" until it is there.
func (c *Conn) Watch(ctx context.Context, unit string) (*Watch, error) {
	w := &Watch{conn: c, unit: unit}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// begin subscribes and then reads the state, so that no change is missed. It
// also begins anew after the connection was lost.
func (w *Watch) begin(ctx context.Context) error {
	sub, err := w.conn.subscribe(ctx, unitChanged(w.unit))
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.unit, err)
	}
	if w.sub != nil {
		w.sub.cancel()
	}
	w.sub = sub
	state, err := w.conn.Properties(ctx, w.unit)
	if err != nil {
		w.sub.cancel()
		return fmt.Errorf("watch %s: %w", w.unit, err)
	}
	w.state, w.fresh = state, true
	return nil
}

// Close ends the watch.
func (w *Watch) Close() { w.sub.cancel() }

// State returns the latest known state without waiting.
func (w *Watch) State() UnitProperties { return w.state }

// Next returns the unit's state: the present one on the first call, then the
// next that differs. Changes that come in quick succession may be merged. Once
// systemd has dropped the unit, its LoadState is "not-found" and the other
// fields keep their last values, except that ActiveState is "inactive" unless
// it was "failed".
func (w *Watch) Next(ctx context.Context) (UnitProperties, error) {
	for {
		if w.fresh {
			w.fresh = false
			return w.state, nil
		}
		changes, err := w.sub.next(ctx)
		if errors.Is(err, errLost) {
			err = w.begin(ctx)
		}
		if err != nil {
			return w.state, fmt.Errorf("watch %s: %w", w.unit, err)
		}
		if err := w.apply(ctx, changes); err != nil {
			return w.state, err
		}
	}
}

// Until calls Next until ok says that the state is the wanted one.
func (w *Watch) Until(ctx context.Context, ok func(UnitProperties) bool) (UnitProperties, error) {
	for {
		p, err := w.Next(ctx)
		if err != nil || ok(p) {
			return p, err
		}
	}
}

func (w *Watch) apply(ctx context.Context, changes []*dbus.Message) error {
	removed := false
	for _, m := range changes {
		if isSignal(m, managerInterface, "UnitRemoved") {
			removed = true
			continue
		}
		w.fresh = true
		if changed, ok := m.Body[1].(map[string]dbus.Variant); ok {
			w.state.merge(changed)
		}
		if w.state.LoadState == "not-found" && w.state.Active() {
			w.state.LoadState = "loaded" // the constant LoadState is not signalled
		}
	}
	if !removed {
		return nil
	}
	return w.checkGone(ctx)
}

// checkGone finds out whether systemd has dropped the unit: it also says so of
// every unit when it reloads. GetUnit is asked since, unlike a look at the
// properties, it does not load the unit anew, which would be dropped in turn.
func (w *Watch) checkGone(ctx context.Context) error {
	_, err := w.conn.call(ctx, "GetUnit", w.unit)
	switch {
	case errors.Is(err, errLost):
		return nil // the next wait begins anew
	case isNotFound(err):
		w.fresh = true
		w.state.LoadState, w.state.MainPID = "not-found", 0
		if w.state.ActiveState != "failed" {
			w.state.ActiveState, w.state.SubState = "inactive", "dead"
		}
		return nil
	case err != nil:
		return fmt.Errorf("watch %s: %w", w.unit, err)
	}
	state, err := w.conn.Properties(ctx, w.unit)
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.unit, err)
	}
	w.fresh = w.fresh || state != w.state
	w.state = state
	return nil
}

// unitChanged selects the signals that tell of a change of unit:
// PropertiesChanged(interface, changed, invalidated) from its object, and
// UnitRemoved(name, object) from the manager.
func unitChanged(unit string) func(*dbus.Message) bool {
	path := unitPath(unit)
	return func(m *dbus.Message) bool {
		switch {
		case isSignal(m, propertiesInterface, "PropertiesChanged"):
			return signalPath(m) == path && len(m.Body) == 3
		case isSignal(m, managerInterface, "UnitRemoved"):
			return len(m.Body) == 2 && m.Body[0] == unit
		}
		return false
	}
}
