package engine

import (
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// Get returns one container, by name, id, or the beginning of its id.
func (e *Engine) Get(ctx context.Context, ref string) (Container, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return Container{}, err
	}
	units, err := e.unitsOf(ctx, c)
	if err != nil {
		return Container{}, err
	}
	v, err := e.view(ctx, c, units)
	if err != nil {
		return Container{}, err
	}
	return v, e.addHealth(&v)
}

// unitsOf asks systemd for the units that tell the state of c.
func (e *Engine) unitsOf(ctx context.Context, c spec.Container) (map[string]supervisor.UnitStatus, error) {
	if c.Activated() {
		return e.units(ctx, c.UnitName(), unitgen.SocketName(c.UnitName()))
	}
	return e.units(ctx, c.UnitName())
}

// List returns all containers, the youngest first. One that is removed
// meanwhile is left out.
func (e *Engine) List(ctx context.Context) ([]Container, error) {
	units, err := e.units(ctx, "cleat-*.service", "cleat-*.socket")
	if err != nil {
		return nil, err
	}
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	all := make([]*Container, len(ids))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(indexes(len(ids)), 32) {
		group.Go(func() error {
			for _, i := range part {
				c, err := e.viewOf(ctx, ids[i], units)
				if err != nil {
					return err
				}
				all[i] = c
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var list []Container
	for _, c := range all {
		if c != nil {
			list = append(list, *c)
		}
	}
	slices.SortFunc(list, func(a, b Container) int { return b.Created.Compare(a.Created) })
	return list, nil
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// viewOf returns nil for a container that has gone.
func (e *Engine) viewOf(ctx context.Context, id string, units map[string]supervisor.UnitStatus) (*Container, error) {
	c, err := e.state.Load(id)
	if isNotFound(err) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	v, err := e.view(ctx, c, units)
	if err != nil {
		return nil, err
	}
	return &v, e.addHealth(&v)
}

// units asks systemd for the units that match one of the patterns. Where no systemd runs,
// no container does.
func (e *Engine) units(ctx context.Context, patterns ...string) (map[string]supervisor.UnitStatus, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, err
	}
	list, err := conn.Units(ctx, patterns...)
	if err != nil {
		return nil, err
	}
	units := make(map[string]supervisor.UnitStatus, len(list))
	for _, u := range list {
		units[u.Name] = u
	}
	return units, nil
}

// view joins what is stored of a container with the state of its units.
func (e *Engine) view(ctx context.Context, c spec.Container, units map[string]supervisor.UnitStatus) (Container, error) {
	unit := units[c.UnitName()]
	run, err := e.state.LoadRun(c.ID)
	if err != nil {
		return Container{}, err
	}
	v := Container{Container: c, Run: run}
	if unit.ActiveState == "" && !c.Activated() { // no unit: most of many containers
		v.Status = statusOf(unit, run, false)
		return v, nil
	}
	live, err := e.state.LoadLive(c.ID)
	if err != nil && !isNotFound(err) {
		return Container{}, err
	}
	v.Status = statusOf(unit, run, err == nil)
	v.Ending = unit.JobType == "stop"
	if (v.Status == StatusExited || v.Status == StatusCreated) && isOpen(units, c) {
		v.Status = StatusSleeping
		v.Ports, err = e.portsAsleep(c)
		return v, err
	}
	if v.Status != StatusRunning {
		return v, nil
	}
	v.PID, v.Run.StartedAt = live.PID, live.StartedAt
	if v.Ports, err = e.portsOf(c); err != nil {
		return Container{}, err
	}
	if frozen(c) && !e.thawAbandoned(ctx, c) {
		v.Status = StatusPaused
	}
	return v, nil
}

// statusOf is Docker's word for the state of a unit. Live says that a run has
// begun and not ended yet, which is finer than the unit's states: a unit is
// still "deactivating" while its run is already recorded as ended.
func statusOf(unit supervisor.UnitStatus, run state.Run, live bool) Status {
	switch unit.ActiveState {
	case "active", "reloading":
		return StatusRunning
	case "deactivating":
		if live {
			return StatusRunning
		}
	case "activating":
		if live {
			return StatusRunning // its payload runs; systemd is about to notice
		}
		if run.Restarting {
			return StatusRestarting
		}
	}
	if run.Restarting && unit.ActiveState == "deactivating" {
		return StatusRestarting
	}
	if run.StartedAt.IsZero() {
		return StatusCreated
	}
	return StatusExited
}

// status returns the state of one container.
func (e *Engine) status(ctx context.Context, c spec.Container) (Status, error) {
	units, err := e.unitsOf(ctx, c)
	if err != nil {
		return "", err
	}
	v, err := e.view(ctx, c, units)
	return v.Status, err
}

// hasProcesses reports whether a unit has processes, or will have soon.
func hasProcesses(p supervisor.UnitProperties) bool {
	return p.ActiveState != "inactive" && p.ActiveState != "failed"
}

// cgroupOf returns the control group of a container's unit.
func cgroupOf(c spec.Container) string {
	return filepath.Join("/sys/fs/cgroup", unitgen.SliceGroup(c.Slice), c.UnitName())
}

// frozen reads the kernel's word on whether a unit is frozen; asking systemd
// would be one call a unit. See the kernel's cgroup-v2 documentation.
func frozen(c spec.Container) bool {
	data, err := fsx.ReadFile(filepath.Join(cgroupOf(c), "cgroup.events"))
	return err == nil && strings.Contains(string(data), "frozen 1")
}

// upperDir is the directory of what a container has written to its own layer.
func (e *Engine) upperDir(id string) string { return filepath.Join(e.state.Dir(id), "upper") }
