package supervisor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// Who says which processes of a unit a signal is for.
type Who string

// The choices of Who, see the option --kill-whom of systemctl(1).
const (
	Main Who = "main" // the main process
	All  Who = "all"  // every process of the unit
)

// UnitStatus is one line of "systemctl list-units".
type UnitStatus struct {
	Name        string
	Description string
	LoadState   string // "loaded", "not-found", "masked", "error"…
	ActiveState string // "active", "activating", "deactivating", "inactive", "failed", "reloading"
	SubState    string // finer, by type of unit: "running", "exited", "auto-restart"…
	JobType     string // of the job under way, "" if there is none
}

// UnitProperties is what cleat asks of one unit. Fields that its type does not
// have, or that have not happened yet, are zero.
type UnitProperties struct {
	Name           string
	LoadState      string
	ActiveState    string
	SubState       string
	FreezerState   string // "running", "freezing", "frozen" or "thawing"
	UnitFileState  string // "enabled", "disabled", "transient"…, "" without a file
	FragmentPath   string // of the unit file
	InvocationID   string // 32 hex digits, new with each start
	NeedReload     bool   // the file changed after it was read (NeedDaemonReload)
	ActiveEnter    time.Time
	StateChange    time.Time
	Result         string // "success", "exit-code", "signal", "oom-kill", "timeout", "start-limit-hit"…
	MainPID        uint32 // 0 if nothing runs
	ExecMainCode   int32  // CLD_EXITED (1), CLD_KILLED (2) or CLD_DUMPED (3); 0 while it runs
	ExecMainStatus int32  // exit code, or the signal's number
	ExecMainStart  time.Time
	ExecMainExit   time.Time
	NRestarts      uint32
	ControlGroup   string // path below /sys/fs/cgroup, "" if it has none
}

// Loaded reports whether systemd has the unit, in whatever state.
func (p UnitProperties) Loaded() bool { return p.LoadState != "" && p.LoadState != "not-found" }

// Active reports whether the unit is up or on its way up or down.
func (p UnitProperties) Active() bool {
	return p.ActiveState != "" && p.ActiveState != "inactive" && p.ActiveState != "failed"
}

// Units lists the loaded units whose names match one of the shell patterns,
// for example "cleat-*.service"; all units without a pattern. Names without a
// wildcard that are not loaded are not listed.
func (c *Conn) Units(ctx context.Context, patterns ...string) ([]UnitStatus, error) {
	if patterns == nil {
		patterns = []string{}
	}
	body, err := c.call(ctx, "ListUnitsByPatterns", []string{}, patterns)
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	var rows []struct {
		Name, Description, LoadState, ActiveState, SubState, Following string

		Path    objectPath
		JobID   uint32
		JobType string
		JobPath objectPath
	}
	if err := dbus.Store(body, &rows); err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	out := make([]UnitStatus, 0, len(rows))
	for _, r := range rows {
		out = append(out, UnitStatus{r.Name, r.Description, r.LoadState, r.ActiveState, r.SubState, r.JobType})
	}
	return out, nil
}

// Properties reads the state of one unit. A unit that does not exist is no
// error: its LoadState is "not-found".
func (c *Conn) Properties(ctx context.Context, unit string) (UnitProperties, error) {
	p := UnitProperties{Name: unit}
	for _, iface := range interfaces(unit) {
		body, err := c.callOn(ctx, unitPath(unit), propertiesInterface, "GetAll", iface)
		if err != nil {
			return p, fmt.Errorf("read the properties of %s: %w", unit, err)
		}
		var all map[string]dbus.Variant
		if err := dbus.Store(body, &all); err != nil {
			return p, fmt.Errorf("read the properties of %s: %w", unit, err)
		}
		p.merge(all)
	}
	return p, nil
}

// Property reads one property of one unit, for example "MemoryCurrent" of the
// interface "Service", as godbus decodes it.
func (c *Conn) Property(ctx context.Context, unit, iface, name string) (any, error) {
	body, err := c.callOn(ctx, unitPath(unit), propertiesInterface, "Get", destination+"."+iface, name)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, unit, err)
	}
	var v dbus.Variant
	if err := dbus.Store(body, &v); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, unit, err)
	}
	return v.Value(), nil
}

// Listens returns the addresses that a socket unit listens on.
func (c *Conn) Listens(ctx context.Context, socket string) ([]unitgen.Listen, error) {
	v, err := c.Property(ctx, socket, "Socket", "Listen")
	if err != nil {
		return nil, err
	}
	var listens []unitgen.Listen
	if err := dbus.Store([]any{v}, &listens); err != nil {
		return nil, fmt.Errorf("read Listen of %s: %w", socket, err)
	}
	return listens, nil
}

// SetProperties changes settings of a loaded unit at once; those that are not
// runtime ones last over a reboot, in a drop-in below /etc/systemd/system.control.
func (c *Conn) SetProperties(ctx context.Context, unit string, runtime bool, props ...unitgen.Property) error {
	if _, err := c.call(ctx, "SetUnitProperties", unit, runtime, wire(props)); err != nil {
		return fmt.Errorf("change %s: %w", unit, err)
	}
	return nil
}

// Kill sends a signal to processes of a unit.
func (c *Conn) Kill(ctx context.Context, unit string, who Who, sig int) error {
	if _, err := c.call(ctx, "KillUnit", unit, string(who), int32(sig)); err != nil {
		return fmt.Errorf("send signal %d to %s: %w", sig, unit, err)
	}
	return nil
}

// Freeze stops every process of the unit where it is, and returns once all
// stand still.
func (c *Conn) Freeze(ctx context.Context, unit string) error {
	if _, err := c.call(ctx, "FreezeUnit", unit); err != nil {
		return fmt.Errorf("freeze %s: %w", unit, err)
	}
	return nil
}

// Thaw lets a frozen unit go on.
func (c *Conn) Thaw(ctx context.Context, unit string) error {
	if _, err := c.call(ctx, "ThawUnit", unit); err != nil {
		return fmt.Errorf("thaw %s: %w", unit, err)
	}
	return nil
}

// ResetFailed clears the "failed" state of the unit and its restart counter. A
// unit that is not loaded is no error: it has nothing to be cleared.
func (c *Conn) ResetFailed(ctx context.Context, unit string) error {
	_, err := c.call(ctx, "ResetFailedUnit", unit)
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("reset %s: %w", unit, err)
	}
	return nil
}

// Process is one process of a unit.
type Process struct {
	PID     uint32
	Cgroup  string // path below /sys/fs/cgroup
	Command string // as ps shows it
}

// Processes lists the processes of a unit, those in its sub-cgroups included.
func (c *Conn) Processes(ctx context.Context, unit string) ([]Process, error) {
	body, err := c.call(ctx, "GetUnitProcesses", unit)
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", unit, err)
	}
	var rows []struct {
		Cgroup  string
		PID     uint32
		Command string
	}
	if err := dbus.Store(body, &rows); err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", unit, err)
	}
	out := make([]Process, 0, len(rows))
	for _, r := range rows {
		out = append(out, Process{r.PID, r.Cgroup, r.Command})
	}
	return out, nil
}

// Version returns the version of systemd, for example 252. It is asked once.
func (c *Conn) Version(ctx context.Context) (int, error) {
	c.versionMu.Lock()
	defer c.versionMu.Unlock()
	if c.version != 0 {
		return c.version, nil
	}
	body, err := c.callOn(ctx, managerPath, propertiesInterface, "Get", managerInterface, "Version")
	if err != nil {
		return 0, fmt.Errorf("read systemd's version: %w", err)
	}
	var v dbus.Variant
	if err := dbus.Store(body, &v); err != nil {
		return 0, fmt.Errorf("read systemd's version: %w", err)
	}
	text, _ := v.Value().(string)
	c.version, err = parseVersion(text)
	return c.version, err
}

// parseVersion reads the number that a version such as "252.39-1~deb12u2",
// "v257" or "258~rc1" begins with.
func parseVersion(text string) (int, error) {
	digits := strings.TrimPrefix(text, "v")
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("systemd version %q: %w", text, spec.ErrInvalid)
	}
	return n, nil
}

// merge takes over the properties that cleat knows. A value of another type
// than documented counts as absent.
func (p *UnitProperties) merge(all map[string]dbus.Variant) {
	for name, v := range all {
		switch val := v.Value().(type) {
		case string:
			p.mergeString(name, val)
		case uint64:
			p.mergeTime(name, val)
		case uint32:
			switch name {
			case "MainPID":
				p.MainPID = val
			case "NRestarts":
				p.NRestarts = val
			}
		case int32:
			switch name {
			case "ExecMainCode":
				p.ExecMainCode = val
			case "ExecMainStatus":
				p.ExecMainStatus = val
			}
		case bool:
			if name == "NeedDaemonReload" {
				p.NeedReload = val
			}
		case []byte:
			if name == "InvocationID" {
				p.InvocationID = invocation(val)
			}
		}
	}
}

func (p *UnitProperties) mergeString(name, val string) {
	switch name {
	case "LoadState":
		p.LoadState = val
	case "ActiveState":
		p.ActiveState = val
	case "SubState":
		p.SubState = val
	case "FreezerState":
		p.FreezerState = val
	case "UnitFileState":
		p.UnitFileState = val
	case "FragmentPath":
		p.FragmentPath = val
	case "Result":
		p.Result = val
	case "ControlGroup":
		p.ControlGroup = val
	}
}

// mergeTime takes over wall-clock times, which are in microseconds.
func (p *UnitProperties) mergeTime(name string, usec uint64) {
	var t time.Time
	if usec != 0 {
		t = time.UnixMicro(int64(usec))
	}
	switch name {
	case "ActiveEnterTimestamp":
		p.ActiveEnter = t
	case "StateChangeTimestamp":
		p.StateChange = t
	case "ExecMainStartTimestamp":
		p.ExecMainStart = t
	case "ExecMainExitTimestamp":
		p.ExecMainExit = t
	}
}

// invocation formats an invocation ID; the zero one stands for "never started".
func invocation(id []byte) string {
	for _, b := range id {
		if b != 0 {
			return fmt.Sprintf("%x", id)
		}
	}
	return ""
}

// interfaces returns the D-Bus interfaces that hold a unit's properties: the
// common one and that of its type.
func interfaces(unit string) []string {
	kinds := map[string]string{
		".service": "Service", ".socket": "Socket", ".timer": "Timer", ".slice": "Slice", ".scope": "Scope",
		".mount": "Mount", ".path": "Path", ".target": "Target",
	}
	if dot := strings.LastIndexByte(unit, '.'); dot >= 0 && kinds[unit[dot:]] != "" {
		return []string{unitInterface, destination + "." + kinds[unit[dot:]]}
	}
	return []string{unitInterface}
}

// unitPath returns the object of a unit. systemd loads a unit that is asked
// for by its path, so no GetUnit or LoadUnit is needed.
func unitPath(unit string) objectPath {
	var b strings.Builder
	b.WriteString("/org/freedesktop/systemd1/unit/")
	for i := range len(unit) {
		ch := unit[i]
		letter := ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z'
		if letter || i > 0 && ch >= '0' && ch <= '9' {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "_%02x", ch)
		}
	}
	if unit == "" {
		b.WriteByte('_')
	}
	return objectPath(b.String())
}
