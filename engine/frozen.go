package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// A commit freezes its container for as long as it reads the files. If it is
// killed meanwhile, nobody would ever thaw the container, and it would look as if
// the user had paused it. So a commit leaves a mark for the time of the freeze, and
// holds a lock, which goes with its process: a mark whose lock is free says that
// whoever sees the frozen container has to thaw it.

// freezeMark is the mark of a commit under way, with its lock.
type freezeMark struct {
	lock     *fsx.Lock
	path     string
	lockPath string
}

func (e *Engine) freezePaths(id string) (mark, lock string) {
	mark = filepath.Join(e.state.RunRoot(), "commits", id)
	return mark, mark + ".lock"
}

// markFreeze says that c is about to be frozen for a commit of this process.
func (e *Engine) markFreeze(ctx context.Context, c spec.Container) (*freezeMark, error) {
	mark, lockPath := e.freezePaths(c.ID)
	lock, err := fsx.Acquire(ctx, lockPath)
	if err != nil {
		return nil, err
	}
	m := &freezeMark{lock, mark, lockPath}
	if err := fsx.WriteFileVolatile(mark, nil, 0o600); err != nil {
		return nil, errors.Join(err, m.remove())
	}
	return m, nil
}

// remove takes the mark away once the container is thawed.
func (m *freezeMark) remove() error {
	defer m.lock.Release()
	err := os.Remove(m.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(m.lockPath))
}

// abandonedFreeze returns the mark of a commit that was killed, nil if there is
// none. The caller removes it.
func (e *Engine) abandonedFreeze(c spec.Container) *freezeMark {
	mark, lockPath := e.freezePaths(c.ID)
	if !fsx.Exists(mark) {
		return nil
	}
	lock, err := fsx.TryAcquire(lockPath)
	if err != nil {
		return nil // the commit goes on
	}
	m := &freezeMark{lock, mark, lockPath}
	if !fsx.Exists(mark) { // it has just ended
		_ = m.remove() // of the lock that was made anew; nobody waits for it
		return nil
	}
	return m
}

// thawAbandoned thaws a container that a commit has left frozen, and reports
// whether it did.
func (e *Engine) thawAbandoned(ctx context.Context, c spec.Container) bool {
	m := e.abandonedFreeze(c)
	if m == nil {
		return false
	}
	conn, err := e.systemd(ctx)
	if err == nil {
		err = e.thaw(ctx, conn, c)
	}
	if err != nil {
		m.lock.Release() // the next one tries again
		return false
	}
	_ = m.remove() // a mark that stays costs the next commit's nothing
	return true
}

// forgetAbandoned takes away the mark of a commit that was killed before it froze
// anything: what freezes the container next is the user.
func (e *Engine) forgetAbandoned(c spec.Container) {
	if m := e.abandonedFreeze(c); m != nil {
		_ = m.remove() // as thawAbandoned
	}
}

// checkCommits finds what commits that were killed have left, and thaws their
// containers.
func (e *Engine) checkCommits(ctx context.Context, repair bool) ([]Finding, error) {
	anyMark, _ := e.freezePaths("any")
	entries, err := os.ReadDir(filepath.Dir(anyMark))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, entry := range entries {
		id, isLock := strings.CutSuffix(entry.Name(), ".lock")
		if isLock {
			e.dropFreezeLock(id)
			continue
		}
		m := e.abandonedFreeze(spec.Container{ID: id})
		if m == nil {
			continue
		}
		m.lock.Release()
		if repair {
			if err := e.endAbandoned(ctx, id); err != nil {
				return found, err
			}
		}
		found = append(found, Finding{"container " + spec.ShortID(id), "mark of a commit that was killed", repair})
	}
	return found, nil
}

// endAbandoned ends what a killed commit has begun with a container, which may
// have gone since.
func (e *Engine) endAbandoned(ctx context.Context, id string) error {
	c, err := e.state.Load(id)
	switch {
	case isNotFound(err):
		c = spec.Container{ID: id}
	case err != nil:
		return err
	case frozen(c):
		e.thawAbandoned(ctx, c)
	}
	e.forgetAbandoned(c)
	return nil
}

// dropFreezeLock removes the lock of a commit that was killed before it left a
// mark.
func (e *Engine) dropFreezeLock(id string) {
	mark, lockPath := e.freezePaths(id)
	lock, err := fsx.TryAcquire(lockPath)
	if err != nil {
		return // the commit goes on
	}
	if fsx.Exists(mark) {
		lock.Release()
		return
	}
	_ = (&freezeMark{lock, mark, lockPath}).remove() // nobody misses it
}
