package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// files is the open file system of a container.
type files struct {
	*sandbox.View
	container spec.Container
	running   bool
	release   func() // gives the container's lock back
}

// Close gives the file system up.
func (f *files) Close() {
	f.View.Close()
	f.release()
}

// openFiles opens the file system of a container for reading. One that does not
// run may be started, and even removed, meanwhile: see stillThere.
func (e *Engine) openFiles(ctx context.Context, c spec.Container, scope sandbox.Scope) (*files, error) {
	if scope != sandbox.ImageOnly {
		view, err := e.viewRunning(c, scope)
		if view != nil || err != nil {
			return &files{view, c, true, func() {}}, err
		}
	}
	view, err := e.viewStopped(ctx, c, sandbox.ViewOptions{Scope: scope})
	if err != nil {
		return nil, err
	}
	return &files{view, c, false, func() {}}, nil
}

// openFilesToWrite opens the file system of a container for changes. One that
// does not run is kept from being started until it is closed.
func (e *Engine) openFilesToWrite(ctx context.Context, c spec.Container) (_ *files, err error) {
	view, err := e.viewRunning(c, sandbox.Everything)
	if view != nil || err != nil {
		return &files{view, c, true, func() {}}, err
	}
	lock, err := e.state.Lock(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Release()
		}
	}()
	if err := e.stillThere(c); err != nil {
		return nil, err
	}
	view, err = e.viewRunning(c, sandbox.Everything) // started before we had the lock
	if view != nil || err != nil {
		return &files{view, c, true, lock.Release}, err
	}
	st, err := e.status(ctx, c)
	if err != nil {
		return nil, err
	}
	if st == StatusSleeping {
		return nil, conflict("container %q may be started by a connection at any moment: stop it first, or start it", c.Name)
	}
	if st != StatusCreated && st != StatusExited {
		return nil, conflict("container %q is about to be started by its restart policy: stop it first, or try again", c.Name)
	}
	if view, err = e.viewStopped(ctx, c, sandbox.ViewOptions{Scope: sandbox.Everything, Write: true}); err != nil {
		return nil, err
	}
	return &files{view, c, false, lock.Release}, nil
}

// stillThere returns an error if c was removed.
func (e *Engine) stillThere(c spec.Container) error {
	if _, err := e.state.Load(c.ID); err != nil {
		return fmt.Errorf("container %q was removed meanwhile: %w", c.Name, err)
	}
	return nil
}

// viewRunning returns nil if c does not run.
func (e *Engine) viewRunning(c spec.Container, scope sandbox.Scope) (*sandbox.View, error) {
	live, err := e.state.LoadLive(c.ID)
	if isNotFound(err) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	view, err := sandbox.ViewRunning(live.PID, c.UnitName(), scope)
	if errors.Is(err, spec.ErrConflict) {
		return nil, nil //nolint:nilnil // its run has just ended, or was lost with the machine's power
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", c.Name, err)
	}
	return view, nil
}

// mountRootfs mounts the file system of a container or a build on target.
func mountRootfs(r plan.Rootfs, target string) error {
	return rootfs.Mount{Lower: r.All(), Upper: r.Upper, Work: r.Work, Volatile: r.Volatile}.Do(target)
}

// viewStopped mounts the file system of c where nobody sees it.
func (e *Engine) viewStopped(ctx context.Context, c spec.Container, o sandbox.ViewOptions) (*sandbox.View, error) {
	o.Dir, o.MountPoint = e.state.Dir(c.ID), filepath.Join(e.opt.RunRoot, "root")
	if err := os.MkdirAll(o.MountPoint, 0o700); err != nil {
		return nil, err
	}
	o.Hooks = sandbox.Hooks{
		Mount: mountRootfs,
		CopyUp: func(root *os.File, path, volume string) error {
			return rootfs.CopyUp(ctx, root, path, volume, rootfs.CopyUpOptions{})
		},
	}
	view, err := sandbox.ViewStopped(o)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", c.Name, err)
	}
	return view, nil
}

// closedMounts are the mounts of a container that hold nothing to be copied along
// with what they are in, unless the user has put something there.
func (f *files) closedMounts() map[uint64]bool {
	closed := map[uint64]bool{}
	own, err := tree.MountOf(f.Root())
	if err != nil {
		return closed
	}
	for _, name := range []string{"/dev", "/proc", "/sys"} {
		if hasTarget(f.container.Mounts, name) {
			continue
		}
		fd, err := tree.Open(f.Root(), name, openPath)
		if err != nil {
			continue // it has none
		}
		if id, err := tree.MountOf(fd); err == nil && id != own {
			closed[id] = true
		}
		closeFd(fd)
	}
	return closed
}
