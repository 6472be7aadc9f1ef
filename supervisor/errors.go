package supervisor

import (
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/cleat-project/cleat/spec"
)

// BusError is a method call that systemd refused. It unwraps to the matching
// sentinel of spec where there is one.
type BusError struct {
	Name string // D-Bus error name, for example "org.freedesktop.systemd1.NoSuchUnit"
	Text string // systemd's own explanation
}

// Error returns systemd's explanation.
func (e *BusError) Error() string {
	if e.Text == "" {
		return e.Name
	}
	return strings.TrimSuffix(e.Text, ".")
}

// Unwrap returns the class of the failure, or nil.
func (e *BusError) Unwrap() error {
	switch e.Name {
	case "org.freedesktop.systemd1.UnitExists":
		return spec.ErrExists
	case "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess", "org.freedesktop.systemd1.NoUnitForPID", "org.freedesktop.systemd1.NoSuchJob",
		"org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.FileNotFound":
		return spec.ErrNotFound
	case "org.freedesktop.systemd1.UnitMasked", "org.freedesktop.systemd1.TransactionIsDestructive",
		"org.freedesktop.systemd1.TransactionJobsConflicting", "org.freedesktop.systemd1.UnitInactive":
		return spec.ErrConflict
	case "org.freedesktop.DBus.Error.InvalidArgs", "org.freedesktop.DBus.Error.PropertyReadOnly",
		"org.freedesktop.systemd1.BadUnitSetting", "org.freedesktop.systemd1.LoadFailed":
		return spec.ErrInvalid
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return spec.ErrDenied
	case "org.freedesktop.DBus.Error.NotSupported", "org.freedesktop.DBus.Error.UnknownMethod":
		return spec.ErrUnsupport
	case "org.freedesktop.systemd1.ShuttingDown":
		return spec.ErrUnavail
	}
	return nil
}

// JobError is a job that systemd accepted and that did not end well.
type JobError struct {
	Unit   string
	Type   string // of the job: "start", "stop", "restart"
	Result string // "failed", "canceled", "timeout", "dependency", "skipped", "assert", "unsupported", "collected", "once", or "lost"

	// State is the unit as it was found after the job, to explain the
	// failure. A unit that is collected at once leaves only its name.
	State UnitProperties
}

// Error says which job ended how.
func (e *JobError) Error() string {
	msg := fmt.Sprintf("%s %s: job %s", e.Type, e.Unit, e.Result)
	if r := e.State.Result; r != "" && r != "success" {
		msg += ", unit result " + r
	}
	if e.State.ExecMainStatus != 0 {
		msg += fmt.Sprintf(", main process ended with %d", e.State.ExecMainStatus)
	}
	return msg
}

// result returns the body of a reply, or the error that it carries.
func result(m *dbus.Message) ([]any, error) {
	if m.Type != dbus.TypeError {
		return m.Body, nil
	}
	e := &BusError{}
	e.Name, _ = m.Headers[dbus.FieldErrorName].Value().(string)
	if len(m.Body) > 0 {
		e.Text, _ = m.Body[0].(string)
	}
	return nil, e
}
