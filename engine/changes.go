package engine

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
)

// Change is a path in which a container differs from its image.
type Change = tree.Change

// madeByStart are the mount points that every start makes where an image lacks
// them. Docker has them in a layer of its own, which is not shown either.
var madeByStart = []string{"/dev", "/proc", "/sys", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sbin", "/sbin/docker-init"}

// Changes lists what a container, running or not, has changed in its root file
// system since it was created, in the order of the paths.
func (e *Engine) Changes(ctx context.Context, ref string) ([]Change, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return nil, err
	}
	var all []Change
	err = e.withDiff(ctx, c, func(opt tree.DiffOptions) (err error) {
		all, err = tree.Changes(ctx, opt)
		return err
	})
	return all, err
}

// withDiff calls f with the writable layer of c and its image.
func (e *Engine) withDiff(ctx context.Context, c spec.Container, f func(tree.DiffOptions) error) error {
	opt := tree.DiffOptions{Lower: -1, Ignore: madeByStart, Warn: e.opt.Warn}
	if len(c.Image.DiffIDs) > 0 {
		view, err := e.openFiles(ctx, c, sandbox.ImageOnly)
		if err != nil {
			return err
		}
		defer view.Close()
		opt.Lower = view.Root()
	}
	upper := filepath.Join(e.state.Dir(c.ID), "upper")
	var err error
	opt.Upper, err = unix.Open(upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer closeFd(opt.Upper)
		err = f(opt)
	}
	if err == nil {
		err = e.stillThere(c)
	}
	if err != nil {
		return fmt.Errorf("changes of container %q: %w", c.Name, err)
	}
	return nil
}

// Export writes the root file system of a container, running or not, as a tar
// stream. As in Docker, volumes and other mounts are not part of it.
func (e *Engine) Export(ctx context.Context, ref string, w io.Writer) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	f, err := e.openFiles(ctx, c, sandbox.RootfsOnly)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := e.packFrom(ctx, f, w, f.Root(), ""); err != nil {
		return fmt.Errorf("export container %q: %w", c.Name, err)
	}
	return nil
}
