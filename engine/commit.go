package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

// CommitOptions says what image to make of a container.
type CommitOptions struct {
	Reference string    // its name; "" leaves it without
	Author    string    // of the image
	Message   string    // the image's comment
	Config    RunConfig // what of its configuration differs from the container's
	Changes   []string  // Dockerfile instructions for its configuration, applied last
	NoPause   bool      // do not freeze a running container while its files are read
}

// Commit makes an image of a container's changes and of what it runs. The
// container is frozen while its files are read, if it runs, and cannot be started
// or removed meanwhile.
func (e *Engine) Commit(ctx context.Context, ref string, opt CommitOptions) (Image, error) {
	name, err := commitName(opt.Reference)
	if err != nil {
		return Image{}, err
	}
	c, err := e.state.Find(ref)
	if err != nil {
		return Image{}, err
	}
	parent, err := e.images.Get(c.Image.ID)
	if isNotFound(err) {
		return Image{}, conflict("the image of container %q was removed, so nothing can be based on it: export the container and import that", c.Name)
	}
	if err != nil {
		return Image{}, err
	}
	config, err := overlay(commitConfig(c, parent.Config), opt.Config)
	if err != nil {
		return Image{}, err
	}
	if err := image.ApplyChanges(&config, opt.Changes); err != nil {
		return Image{}, err
	}
	hold, err := e.images.Hold(ctx) // the parent stays; store before container, see package state
	if err != nil {
		return Image{}, err
	}
	defer hold.Release()
	var img Image
	err = e.state.WithLock(ctx, c.ID, func(c spec.Container) (err error) {
		img, err = e.commit(ctx, c, opt, archive.CommitOptions{
			Unpack: unpack, Parent: parent, Config: config, Reference: name,
			Author: opt.Author, Message: opt.Message, CreatedBy: strings.Join(c.Process.Cmd, " "),
		})
		return err
	})
	return img, err
}

// commitName reads the name of the new image.
func commitName(s string) (Reference, error) {
	if s == "" {
		return Reference{}, nil
	}
	ref, err := image.ParseReference(s)
	if err != nil {
		return ref, err
	}
	return ref, checkTag(ref)
}

// commit makes the image of c, whose lock is held.
func (e *Engine) commit(ctx context.Context, c spec.Container, opt CommitOptions, as archive.CommitOptions) (img Image, err error) {
	thaw, err := e.freezeFor(ctx, c, opt)
	if err != nil {
		return Image{}, err
	}
	layer := stream(func(w io.Writer) error {
		return e.withDiff(ctx, c, func(diff tree.DiffOptions) error { return tree.PackChanges(ctx, w, diff) })
	})
	img, err = archive.Commit(ctx, e.images, &atEnd{layer, thaw}, as)
	if err := errors.Join(layer.Close(), thaw()); err != nil {
		e.warnf("%v", err)
	}
	if err != nil {
		return Image{}, fmt.Errorf("commit container %q: %w", c.Name, err)
	}
	e.tellNamed(img, as.Reference)
	e.tellContainer(c, "commit", "comment", img.Comment, "imageID", string(img.ID), "imageRef", opt.Reference)
	return img, nil
}

// atEnd calls a function when its reader has ended: the container need not stay
// frozen until the image is on disk.
type atEnd struct {
	io.Reader
	call func() error
}

// Read implements io.Reader.
func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if err := a.call(); err != nil {
			return n, err
		}
	}
	return n, err
}

// thawWait bounds how long a container is tried to be thawed after the user has
// given up.
const thawWait = 10 * time.Second

// freezeFor freezes c if it runs and should not while its files are read. Thaw
// may be called more than once.
func (e *Engine) freezeFor(ctx context.Context, c spec.Container, opt CommitOptions) (thaw func() error, err error) {
	thaw = func() error { return nil }
	if opt.NoPause {
		return thaw, nil
	}
	st, err := e.status(ctx, c)
	if err != nil || st != StatusRunning {
		return thaw, err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return thaw, err
	}
	mark, err := e.markFreeze(ctx, c)
	if err != nil {
		return thaw, err
	}
	if err := setFrozen(ctx, conn, c, true); err != nil {
		err = errors.Join(err, mark.remove())
		return thaw, fmt.Errorf("pause container %q (--pause=false commits it as it runs): %w", c.Name, err)
	}
	paused := true
	return func() error {
		if !paused {
			return nil
		}
		paused = false
		if err := e.thaw(ctx, conn, c); err != nil {
			return err // the mark's lock goes with this process
		}
		return mark.remove()
	}, nil
}

func (e *Engine) thaw(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawWait)
	defer cancel()
	if err := setFrozen(ctx, conn, c, false); err != nil && !isNotFound(err) {
		return fmt.Errorf("container %q is still paused, unpause it with 'cleat unpause': %w", c.Name, err)
	}
	return nil
}

// commitConfig returns how a container of the new image runs: as c does, with
// what c does not say from its image.
func commitConfig(c spec.Container, base image.Config) image.Config {
	config := base.Clone()
	config.Entrypoint, config.Cmd = slices.Clone(c.Process.Entrypoint), slices.Clone(c.Process.Cmd)
	config.Env, config.User, config.WorkingDir = slices.Clone(c.Process.Env), c.Process.User, c.Process.Dir
	config.Labels, config.StopSignal = c.Labels, c.StopSignal
	for port := range exposedPorts(c.Network) {
		if config.ExposedPorts == nil {
			config.ExposedPorts = map[string]struct{}{}
		}
		config.ExposedPorts[port] = struct{}{}
	}
	if c.StopTimeout != nil {
		config.StopTimeout = new(int(c.StopTimeout.Seconds()))
	}
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume || !m.Anonymous {
			continue
		}
		if config.Volumes == nil {
			config.Volumes = map[string]struct{}{}
		}
		config.Volumes[m.Target] = struct{}{}
	}
	return config
}
