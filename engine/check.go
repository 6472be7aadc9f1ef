package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// Finding is something that Check found wrong.
type Finding struct {
	Object   string // what it is about: a path, a unit, a container
	Problem  string // for example "half-made container"
	Repaired bool
}

// How often, and how far apart, Check looks again at what it has found.
const (
	looks     = 4
	lookAgain = 250 * time.Millisecond
)

// Check looks for what a killed command or a power cut left behind, and for
// containers that cannot run any more. With repair it removes the former; the
// latter are the user's, and are only reported. Commands that are under way are
// not disturbed, nor told of: half of what they do can look like something that
// was left, so only what stays is.
func (e *Engine) Check(ctx context.Context, repair bool) ([]Finding, error) {
	found, err := e.look(ctx, false)
	for n := 1; n < looks && err == nil && len(found) > 0; n++ {
		if err = pause.For(ctx, lookAgain); err != nil {
			break
		}
		var now []Finding
		now, err = e.look(ctx, false)
		found = slices.DeleteFunc(found, func(f Finding) bool { return !slices.Contains(now, f) })
	}
	if err != nil || !repair {
		return found, err
	}
	return e.look(ctx, true)
}

// look goes through everything once.
func (e *Engine) look(ctx context.Context, repair bool) ([]Finding, error) {
	left, err := e.state.Sweep(ctx, repair)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, l := range left {
		found = append(found, Finding{l.Path, l.Problem, repair})
	}
	for _, check := range []func(context.Context, bool) ([]Finding, error){e.checkUnsettled, e.checkUnits, e.checkUnitFiles, e.checkRuns, e.checkEphemeral, e.checkDescribed, e.checkContainers, e.checkImages, e.checkStdio, e.checkNetworks, e.checkWires, e.checkCommits} {
		more, err := check(ctx, repair)
		found = append(found, more...)
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// checkImages finds images that are not whole, which are reported, and what no
// image needs, which is removed.
func (e *Engine) checkImages(ctx context.Context, repair bool) ([]Finding, error) {
	problems, err := e.images.Check(ctx)
	if err != nil {
		return nil, err
	}
	swept := false
	if repair {
		if swept, err = e.images.Sweep(ctx); err != nil {
			return nil, err
		}
	}
	var found []Finding
	for _, p := range problems {
		if p.Image == "" {
			found = append(found, Finding{"image store", p.What, swept})
		} else {
			found = append(found, Finding{Object: "image " + p.Image.Short(), Problem: p.What + ": remove it and pull it again"})
		}
	}
	return found, nil
}

// checkUnits finds units of containers that do not exist.
func (e *Engine) checkUnits(ctx context.Context, repair bool) ([]Finding, error) {
	units, err := e.units(ctx, "cleat-*.service")
	if err != nil {
		return nil, err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, name := range sortedKeys(units) {
		if units[name].LoadState == "not-found" || units[name].ActiveState == "deactivating" || e.ownsUnit(name) {
			continue // one that is deactivating has just removed its container, and goes too
		}
		f := Finding{Object: name, Problem: "unit of a container that is gone"}
		if repair {
			if err := killUnit(ctx, conn, name); err != nil {
				return found, err
			}
			f.Repaired = true
		}
		found = append(found, f)
	}
	return found, nil
}

// ownsUnit reports whether a unit belongs to a container that exists, or to
// cleat itself. One that ends by itself right now has no container any more,
// but is not lost: it is still about to finish.
func (e *Engine) ownsUnit(unit string) bool {
	if _, ok := containerName(unit); !ok {
		return true
	}
	_, err := e.ownerOf(unit)
	return !isNotFound(err)
}

// containerName returns the name of the container that a unit is one of.
func containerName(unit string) (string, bool) {
	name, ok := strings.CutPrefix(strings.TrimSuffix(unitgen.ServiceOf(unit), ".service"), "cleat-")
	if !ok {
		return "", false
	}
	for _, own := range reserved {
		if name == own {
			return "", false
		}
	}
	return name, true
}

func killUnit(ctx context.Context, conn *supervisor.Conn, name string) error {
	if err := conn.Kill(ctx, name, supervisor.All, sigKill); err != nil && !isNotFound(err) {
		return err
	}
	return settle(ctx, conn, name)
}

// checkUnitFiles finds boot units of containers that do not exist.
func (e *Engine) checkUnitFiles(ctx context.Context, repair bool) ([]Finding, error) {
	paths, err := filepath.Glob(filepath.Join(supervisor.UnitDir, "cleat-*"))
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, path := range paths {
		unit := filepath.Base(path)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "\nX-Cleat-Id=") || e.ownsUnit(unit) {
			continue // somebody else's, or a container's
		}
		f := Finding{Object: path, Problem: "boot unit of a container that is gone"}
		if repair {
			conn, err := e.systemd(ctx)
			if err == nil {
				err = conn.Disable(ctx, unit)
			}
			if err == nil {
				err = conn.RemoveUnitFile(ctx, unit)
			}
			if err != nil {
				return found, fmt.Errorf("remove %s: %w", path, err)
			}
			f.Repaired = true
		}
		found = append(found, f)
	}
	half, err := fsx.SweepTemp(supervisor.UnitDir, repair)
	for _, path := range half {
		found = append(found, Finding{path, "half-written file", repair})
	}
	return found, err
}

// checkContainers finds containers that cannot be started: they are reported,
// never removed, because their files may be all that is left of something.
func (e *Engine) checkContainers(context.Context, bool) ([]Finding, error) {
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range ids {
		c, err := e.state.Load(id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			found = append(found, Finding{Object: "container " + spec.ShortID(id), Problem: err.Error()})
			continue
		}
		for _, problem := range e.problems(c) {
			found = append(found, Finding{Object: fmt.Sprintf("container %q", c.Name), Problem: problem})
		}
	}
	return found, nil
}

func (e *Engine) problems(c spec.Container) []string {
	var all []string
	for _, d := range c.Image.DiffIDs {
		if _, err := os.Stat(e.layerDir(d)); err != nil {
			all = append(all, fmt.Sprintf("layer %s is missing: pull image %q again", d, c.Image.Reference))
		}
	}
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume {
			continue
		}
		if _, err := e.state.LoadVolume(m.Source); err != nil {
			all = append(all, fmt.Sprintf("volume %s of %s is missing", m.Source, m.Target))
		}
	}
	return all
}

// checkStdio finds streams in the broker whose container is gone.
func (e *Engine) checkStdio(ctx context.Context, repair bool) ([]Finding, error) {
	known, err := stdio.List(ctx, e.stdioSocket())
	if errors.Is(err, spec.ErrUnavail) || errors.Is(err, os.ErrNotExist) {
		return []Finding{{Object: e.stdioSocket(), Problem: "the stdio broker does not answer: is cleat-stdiod.socket enabled and started?"}}, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, s := range known {
		if _, err := e.state.Load(s.ID); s.PID == 0 || !isNotFound(err) {
			continue
		}
		f := Finding{Object: "streams of " + s.Name, Problem: "container is gone"}
		if repair {
			if err := stdio.Drain(ctx, e.stdioSocket(), s.ID, 0); err != nil {
				return found, err
			}
			f.Repaired = true
		}
		found = append(found, f)
	}
	return found, nil
}
