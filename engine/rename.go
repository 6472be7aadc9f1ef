package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// Rename gives a container another name. One that runs keeps its unit until its
// run is over, as systemd cannot rename a unit: from its next start on, the unit
// is called like the container.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return invalid("neither old nor new names may be empty")
	}
	if err := checkName(name); err != nil {
		return err
	}
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	if err := checkNotDescribed(c); err != nil {
		return err
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error {
		if c.Name == name {
			return invalid("renaming container %q to its current name", name)
		}
		if err := e.state.Claim(ctx, name, c.ID); err != nil {
			return err
		}
		renamed, err := e.rename(ctx, c, name)
		if err != nil {
			return fmt.Errorf("rename %q: %w", c.Name, err)
		}
		e.tellContainer(renamed, "rename", "oldName", "/"+c.Name)
		return nil
	})
}

// rename changes the name of c, whose lock is held and for which the name is
// claimed, and what follows from it.
func (e *Engine) rename(ctx context.Context, c spec.Container, name string) (spec.Container, error) {
	st, err := e.status(ctx, c)
	if err != nil {
		return c, err
	}
	if err := e.state.MarkUnsettled(c.ID); err != nil {
		return c, err
	}
	// The unit that there is stays the container's until the last step.
	next := c
	next.Name, next.Unit = name, c.UnitName()
	if err := e.state.PinUnit(next.Unit, c.ID); err != nil {
		return c, err
	}
	if err := e.state.Update(next); err != nil {
		return c, err
	}
	return e.settle(ctx, next, isUpStatus(st), nil)
}

// isUpStatus reports whether a container in this state has a unit at work.
func isUpStatus(st Status) bool {
	return st == StatusSleeping || st == StatusRunning || st == StatusPaused || st == StatusRestarting
}

// freeUnit returns what spec.Container.Unit of c is to be: "" unless the unit
// that follows from its name is another container's, which had the name before.
// No name has a colon, so that what is returned then is nobody else's.
func (e *Engine) freeUnit(c spec.Container) string {
	if holder, pinned := e.state.PinnedUnit(spec.UnitOf(c.Name)); !pinned || holder == c.ID {
		return ""
	}
	return spec.UnitOf(c.Name + ":" + spec.ShortID(c.ID))
}

// withUnit returns c with another unit, which is "" for the one that follows from
// its name.
func withUnit(c spec.Container, unit string) spec.Container {
	old := c.UnitName()
	c.Unit = unit
	if !slices.Contains(c.FormerUnits, old) {
		c.FormerUnits = append(slices.Clone(c.FormerUnits), old)
	}
	now := c.UnitName()
	c.FormerUnits = slices.DeleteFunc(slices.Clone(c.FormerUnits), func(u string) bool { return u == now })
	return c
}

// ownerOf returns the container that a unit is one of.
func (e *Engine) ownerOf(unit string) (spec.Container, error) {
	unit = unitgen.ServiceOf(unit)
	name, ok := containerName(unit)
	if !ok {
		return spec.Container{}, fmt.Errorf("unit %s is no container's: %w", unit, spec.ErrNotFound)
	}
	ref := name
	if id, pinned := e.state.PinnedUnit(unit); pinned {
		ref = id
	} else if _, id, ok := strings.Cut(name, ":"); ok {
		ref = id
	}
	c, err := e.state.Find(ref)
	if err == nil && c.UnitName() != unit && !e.state.Unsettled(c.ID) {
		return c, fmt.Errorf("unit %s is no container's: %w", unit, spec.ErrNotFound)
	}
	return c, err
}
