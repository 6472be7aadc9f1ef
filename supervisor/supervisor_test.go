package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// unitName returns a unit name that no other test uses, and has the unit
// removed at the end of the test.
func unitName(t testing.TB, suffix string) string {
	t.Helper()
	base := strings.Map(func(r rune) rune {
		if r == '/' || r == '_' || r == ' ' {
			return '-'
		}
		return r
	}, strings.ToLower(t.Name()))
	name := fmt.Sprintf("cleat-%s-%d%s", base, os.Getpid(), suffix)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		c, err := supervisor.Connect(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if err := c.Stop(ctx, name); err != nil && !errors.Is(err, spec.ErrNotFound) {
			t.Error(err)
		}
		if err := c.ResetFailed(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// service is a transient service that runs a shell command.
func service(name, command string, more ...unitgen.Property) unitgen.Unit {
	return unitgen.Unit{Name: name, Properties: append([]unitgen.Property{
		{Name: "Type", Value: "exec"},
		{Name: "ExecStart", Value: []unitgen.Exec{{Path: "/bin/sh", Args: []string{"sh", "-c", command}}}},
	}, more...)}
}

func properties(t testing.TB, c *supervisor.Conn, unit string) supervisor.UnitProperties {
	t.Helper()
	p, err := c.Properties(t.Context(), unit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// await waits until the unit's state is as wanted.
func await(t testing.TB, c *supervisor.Conn, unit string, ok func(supervisor.UnitProperties) bool) supervisor.UnitProperties {
	t.Helper()
	w, err := c.Watch(t.Context(), unit)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p, err := w.Until(t.Context(), ok)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTransientUnitRunsAndStops(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	began := time.Now()
	if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	p := properties(t, c, name)
	if p.LoadState != "loaded" || p.ActiveState != "active" || p.SubState != "running" || p.FreezerState != "running" {
		t.Errorf("state is %+v", p)
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.MainPID)); string(comm) != "sleep\n" && string(comm) != "sh\n" {
		t.Errorf("main process %d is %q, %v", p.MainPID, comm, err)
	}
	if want := "/system.slice/" + name; p.ControlGroup != want {
		t.Errorf("control group is %q, want %q", p.ControlGroup, want)
	}
	if len(p.InvocationID) != 32 || p.UnitFileState != "transient" || p.Result != "success" {
		t.Errorf("invocation %q, unit file %q, result %q", p.InvocationID, p.UnitFileState, p.Result)
	}
	for what, at := range map[string]time.Time{"ActiveEnter": p.ActiveEnter, "StateChange": p.StateChange, "ExecMainStart": p.ExecMainStart} {
		if at.Before(began.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s is %s, the unit was started at %s", what, at, began)
		}
	}
	if err := c.Stop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if p := properties(t, c, name); p.Loaded() || p.Active() {
		t.Errorf("after Stop: %+v", p)
	}
	if err := c.Stop(t.Context(), name); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("second Stop: %v, want %v", err, spec.ErrNotFound)
	}
}

func TestTransientNameIsTakenOnce(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	const starts = 8
	errs := make([]error, starts)
	var wg sync.WaitGroup
	for i := range starts {
		wg.Go(func() { errs[i] = c.StartTransient(t.Context(), service(name, "exec sleep 1000")) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, spec.ErrExists) {
			t.Errorf("losing start: %v, want %v", err, spec.ErrExists)
		}
	}
	if won != 1 {
		t.Errorf("%d starts won: %v", won, errs)
	}
}

func TestManyUnitsOnOneConnection(t *testing.T) {
	t.Parallel()
	c := connect(t)
	var wg sync.WaitGroup
	for i := range 16 {
		name := unitName(t, fmt.Sprintf("-%d.service", i))
		wg.Go(func() {
			if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	units, err := c.Units(t.Context(), "cleat-testmanyunits*.service")
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 16 {
		t.Errorf("%d units are listed, want 16", len(units))
	}
	for _, u := range units {
		if u.ActiveState != "active" || u.SubState != "running" || u.LoadState != "loaded" || u.JobType != "" {
			t.Errorf("unit %+v", u)
		}
	}
}

func TestFailedStartsAreExplained(t *testing.T) {
	t.Parallel()
	c := connect(t)
	tests := map[string]struct {
		unit   unitgen.Unit
		result string
		status int32
	}{
		"a command that does not exist": {
			unitgen.Unit{Properties: []unitgen.Property{
				{Name: "Type", Value: "exec"},
				{Name: "ExecStart", Value: []unitgen.Exec{{Path: "/nowhere/cmd", Args: []string{"cmd"}}}},
			}}, "exit-code", 203,
		},
		"a oneshot that ends with 7": {
			service("", "exit 7", unitgen.Property{Name: "Type", Value: "oneshot"}), "exit-code", 7,
		},
		"a start that takes too long": {
			service("", "exec sleep 1000", unitgen.Property{Name: "Type", Value: "notify"},
				unitgen.Property{Name: "TimeoutStartUSec", Value: uint64(1000)}), "timeout", 15,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.unit.Name = unitName(t, ".service")
			err := c.StartTransient(t.Context(), tt.unit)
			var job *supervisor.JobError
			if !errors.As(err, &job) {
				t.Fatalf("error %v, want a JobError", err)
			}
			if job.Unit != tt.unit.Name || job.Type != "start" || job.Result != "failed" {
				t.Errorf("job error %+v", job)
			}
			if job.State.Result != tt.result || job.State.ExecMainStatus != tt.status {
				t.Errorf("unit's result %q, status %d; want %q, %d", job.State.Result, job.State.ExecMainStatus, tt.result, tt.status)
			}
		})
	}
}

func TestRefusedUnitsAreInvalid(t *testing.T) {
	t.Parallel()
	c := connect(t)
	unknown := service(unitName(t, ".service"), "true", unitgen.Property{Name: "NoSuchSetting", Value: "x"})
	var refused *supervisor.BusError
	if err := c.StartTransient(t.Context(), unknown); !errors.As(err, &refused) {
		t.Errorf("unknown property: %v, want a BusError", err)
	}
	if err := c.StartTransient(t.Context(), service("no suffix", "true")); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("bad name: %v, want %v", err, spec.ErrInvalid)
	}
	if err := c.Start(t.Context(), "cleat-no-such-unit.service"); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("missing unit: %v, want %v", err, spec.ErrNotFound)
	}
}

func TestAuxiliaryUnitComesAlong(t *testing.T) {
	t.Parallel()
	c := connect(t)
	timer, svc := unitName(t, ".timer"), unitName(t, ".service")
	in := []unitgen.IOLimit{{Path: "OnActiveSec", Limit: 3_600_000_000}} // also of signature a(st)
	err := c.StartTransient(t.Context(),
		unitgen.Unit{Name: timer, Properties: []unitgen.Property{{Name: "TimersMonotonic", Value: in}}},
		service(svc, "exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), svc); err != nil {
		t.Errorf("start of the auxiliary unit: %v", err)
	}
	if p := properties(t, c, timer); p.SubState != "running" && p.SubState != "waiting" {
		t.Errorf("timer is %+v", p)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	if err := c.StartTransient(t.Context(), service(name, "sleep 1000 & sleep 1000; exit 3")); err != nil {
		t.Fatal(err)
	}
	procs, err := c.Processes(t.Context(), name)
	if err != nil || len(procs) == 0 || procs[0].Cgroup != "/system.slice/"+name {
		t.Errorf("processes %+v, %v", procs, err)
	}
	if err := c.Kill(t.Context(), name, supervisor.Main, int(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	p := await(t, c, name, func(p supervisor.UnitProperties) bool { return !p.Active() })
	if p.Result != "signal" || p.ExecMainCode != 2 || p.ExecMainStatus != 9 || p.ActiveState != "failed" {
		t.Errorf("after SIGKILL: %+v", p)
	}
	if err := c.ResetFailed(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(t.Context(), name, supervisor.All, int(unix.SIGTERM)); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("Kill of what has gone: %v, want %v", err, spec.ErrNotFound)
	}
}

func TestExitStatusIsRead(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	if err := c.StartTransient(t.Context(), service(name, "sleep 0.05; exit 42")); err != nil {
		t.Fatal(err)
	}
	p := await(t, c, name, func(p supervisor.UnitProperties) bool { return !p.Active() })
	if p.ExecMainCode != 1 || p.ExecMainStatus != 42 || p.Result != "exit-code" || p.MainPID != 0 {
		t.Errorf("after exit 42: %+v", p)
	}
	if p := properties(t, c, name); p.ExecMainStatus != 42 || p.ExecMainExit.IsZero() {
		t.Errorf("properties after exit 42: %+v", p)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if err := c.Freeze(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	p := properties(t, c, name)
	if p.FreezerState != "frozen" {
		t.Errorf("FreezerState is %q, want frozen", p.FreezerState)
	}
	events, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", p.ControlGroup, "cgroup.events"))
	if err != nil || !strings.Contains(string(events), "frozen 1") {
		t.Errorf("cgroup.events: %q, %v", events, err)
	}
	if err := c.Thaw(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if p := properties(t, c, name); p.FreezerState != "running" {
		t.Errorf("FreezerState is %q, want running", p.FreezerState)
	}
	if err := c.Freeze(t.Context(), "cleat-no-such-unit.service"); !errors.Is(err, spec.ErrNotFound) && !errors.Is(err, spec.ErrConflict) {
		t.Errorf("Freeze of no unit: %v", err)
	}
}

func TestSettingsOfARunningUnitChange(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetProperties(t.Context(), name, true, unitgen.Property{Name: "TasksMax", Value: uint64(17)}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Property(t.Context(), name, "Service", "TasksMax"); got != uint64(17) || err != nil {
		t.Errorf("TasksMax = %v, %v; want 17", got, err)
	}
	if err := c.SetProperties(t.Context(), name, true, unitgen.Property{Name: "Type", Value: "oneshot"}); err == nil {
		t.Error("a setting that cannot change was changed")
	}
}

func TestWatchSeesAWholeLife(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	w, err := c.Watch(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if p, err := w.Next(t.Context()); p.Loaded() || err != nil {
		t.Fatalf("before: %+v, %v", p, err)
	}
	if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	p, err := w.Until(t.Context(), func(p supervisor.UnitProperties) bool { return p.ActiveState == "active" && p.MainPID != 0 })
	if err != nil || p.LoadState != "loaded" {
		t.Fatalf("running: %+v, %v", p, err)
	}
	if err := c.Stop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	p, err = w.Until(t.Context(), func(p supervisor.UnitProperties) bool { return !p.Loaded() })
	if err != nil || p.Active() || p.MainPID != 0 {
		t.Fatalf("gone: %+v, %v", p, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := w.Next(ctx); !errors.Is(err, cause) {
		t.Errorf("Next after cancel: %v, want %v", err, cause)
	}
}

func TestUnitThatDoesNotExist(t *testing.T) {
	t.Parallel()
	c := connect(t)
	want := supervisor.UnitProperties{Name: "cleat-nobody.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead", FreezerState: "running", Result: "success"}
	if diff := cmp.Diff(want, properties(t, c, want.Name)); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	units, err := c.Units(t.Context(), "cleat-nobody*")
	if err != nil || len(units) != 0 {
		t.Errorf("Units = %+v, %v", units, err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for range 2 {
		if v, err := c.Version(t.Context()); v < 250 || v > 1000 || err != nil {
			t.Errorf("Version = %d, %v", v, err)
		}
	}
}

// Not parallel: PID 1 is away for everybody meanwhile.
func TestReloadAndReexecuteLeaveConnectionsUsable(t *testing.T) {
	c := connect(t)
	name := unitName(t, ".service")
	if err := c.StartTransient(t.Context(), service(name, "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	before := properties(t, c, name)
	w, err := c.Watch(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	slow := unitName(t, "-slow.service")
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	job, err := c.StartTransientNoWait(t.Context(), service(slow, "cat "+gate, unitgen.Property{Name: "Type", Value: "oneshot"}))
	if err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func(context.Context) error{"reload": c.Reload, "re-execute": c.Reexecute} {
		if err := do(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if after := properties(t, c, name); after.MainPID != before.MainPID || after.InvocationID != before.InvocationID {
			t.Errorf("after %s: %+v, before: %+v", what, after, before)
		}
	}
	waited := make(chan error, 1)
	go func() { waited <- job.Wait(t.Context()) }()
	if err := os.WriteFile(gate, nil, 0o600); err != nil { // ends the oneshot
		t.Fatal(err)
	}
	var lost *supervisor.JobError
	if err := <-waited; err != nil && (!errors.As(err, &lost) || lost.Result != "lost") {
		t.Errorf("job over the re-execution: %v", err)
	}
	if err := c.Kill(t.Context(), name, supervisor.All, int(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if p, err := w.Until(t.Context(), func(p supervisor.UnitProperties) bool { return !p.Active() }); p.ExecMainStatus != 9 || err != nil {
		t.Errorf("watch over the re-execution: %+v, %v", p, err)
	}
}

func TestClosedConnectionFails(t *testing.T) {
	t.Parallel()
	c := connect(t)
	w, err := c.Watch(t.Context(), "basic.target")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	// What came before the end is still told.
	if _, err := w.Until(t.Context(), func(supervisor.UnitProperties) bool { return false }); err == nil {
		t.Error("Until ends without an error on a closed connection")
	}
	if _, err := c.Units(t.Context()); err == nil {
		t.Error("Units works on a closed connection")
	}
}
