package engine

import (
	"cmp"
	"context"
	"fmt"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// UpdateOptions says what to change of a container. As in Docker, zero leaves a
// setting as it is.
type UpdateOptions struct {
	MemoryBytes      int64  // RAM
	TotalBytes       int64  // RAM and swap together (Docker's --memory-swap); -1 means unlimited swap
	ReservationBytes int64  // soft limit
	CPUMillis        int64  // CPU time per wall second, in thousandths; -1 means unlimited
	CPUShares        int64  // relative weight
	CPUSet           string // for example "0-2,4"
	MemoryNodes      string // for example "0,1"
	IOWeight         uint16 // relative weight

	Pids    *int64              // processes and threads; 0 means unlimited
	Restart *spec.RestartPolicy // nil leaves it
}

// Update changes limits and restart policy of a container. Limits of one that
// runs are in force at once. So is the restart policy of one that was started as
// a boot service; another one becomes that, or stops to be, at its next start,
// but is enabled or disabled for the next boot at once.
func (e *Engine) Update(ctx context.Context, ref string, opt UpdateOptions) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	if err := checkNotDescribed(c); err != nil {
		return err
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error {
		next, err := updated(c, opt)
		if err != nil {
			return fmt.Errorf("update %q: %w", c.Name, err)
		}
		if err := e.update(ctx, c, next); err != nil {
			return fmt.Errorf("update %q: %w", c.Name, err)
		}
		e.tellContainer(next, "update")
		return nil
	})
}

// updated returns c as opt wants it.
func updated(c spec.Container, opt UpdateOptions) (spec.Container, error) {
	if opt.Restart != nil {
		if c.AutoRemove {
			return c, conflict("the restart policy cannot be changed: the container removes itself when its run ends (--rm)")
		}
		c.Restart = *opt.Restart
	}
	l, err := updatedMemory(c.Limits, opt.MemoryBytes, opt.TotalBytes)
	if err != nil {
		return c, err
	}
	l.ReservationBytes = cmp.Or(opt.ReservationBytes, l.ReservationBytes)
	l.CPUMillis = max(cmp.Or(opt.CPUMillis, l.CPUMillis), 0)
	l.CPUShares = cmp.Or(opt.CPUShares, l.CPUShares)
	l.CPUSet = cmp.Or(opt.CPUSet, l.CPUSet)
	l.MemoryNodes = cmp.Or(opt.MemoryNodes, l.MemoryNodes)
	l.IOWeight = cmp.Or(opt.IOWeight, l.IOWeight)
	if opt.Pids != nil {
		l.Pids = *opt.Pids
	}
	c.Limits = l
	return c, checkLimits(l)
}

// updatedMemory returns l with other limits on RAM and on RAM and swap together.
// If only that on RAM is given, the other stays, and where there was none it is
// what it would be at creation: twice as much.
func updatedMemory(l spec.Limits, memory, total int64) (spec.Limits, error) {
	if memory == 0 && total == 0 {
		return l, nil
	}
	if total == 0 {
		switch total = totalMemory(l); {
		case total == 0:
			total = 2 * memory
		case total > 0 && total < memory:
			return l, conflict("the memory limit of %d bytes is larger than that on memory and swap together, %d: change this one (--memory-swap) at the same time", memory, total)
		}
	}
	l.MemoryBytes = cmp.Or(memory, l.MemoryBytes)
	switch {
	case total < 0:
		l.SwapBytes, l.NoSwap = -1, false
	case l.MemoryBytes == 0:
		return l, invalid("a limit on memory and swap needs a memory limit (--memory) as well")
	case total < l.MemoryBytes:
		return l, invalid("the limit on memory and swap together, %d bytes, must not be smaller than that on memory, %d", total, l.MemoryBytes)
	default:
		l.SwapBytes, l.NoSwap = total-l.MemoryBytes, total == l.MemoryBytes
	}
	return l, nil
}

// totalMemory is the limit on RAM and swap together: -1 for unlimited swap, 0 for
// none at all.
func totalMemory(l spec.Limits) int64 {
	switch {
	case l.SwapBytes < 0:
		return -1
	case l.MemoryBytes == 0:
		return 0
	}
	return l.MemoryBytes + l.SwapBytes
}

// update makes c, whose lock is held, next.
func (e *Engine) update(ctx context.Context, c, next spec.Container) error {
	limits, err := unitgen.ChangedLimits(c, next)
	if err != nil {
		return err
	}
	st, err := e.status(ctx, c)
	if err != nil {
		return err
	}
	if err := e.state.MarkUnsettled(c.ID); err != nil {
		return err
	}
	if err := e.state.Update(next); err != nil {
		return err
	}
	if _, err := e.settle(ctx, next, isUpStatus(st), limits); err != nil {
		return err
	}
	if len(limits) > 0 {
		e.warnLimits(next.Limits)
	}
	return nil
}
