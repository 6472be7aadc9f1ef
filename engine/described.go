package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/internal/config"
	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/unitgen"
)

// A described container is what a file says (spec.Container.Source). Its unit is
// made from the file as well, by a generator of systemd's, before there is any
// container: it calls Provide first, and then starts the container by its name. So
// no verb here writes or removes that unit.

// Provide makes sure that a container is there as opt describes it, for a unit that
// is about to start it. One that was made from an earlier description, or from
// another image, is replaced; its anonymous volumes go with it.
func (e *Engine) Provide(ctx context.Context, opt CreateOptions) (Container, error) {
	want := opt.Container
	if want.Source == nil || want.Name == "" {
		return Container{}, invalid("a container without a name or a file that describes it")
	}
	old, err := e.state.Find(want.Name)
	switch {
	case err == nil && old.Name == want.Name:
		if old.Source == nil || old.Source.Path != want.Source.Path {
			return Container{}, conflict("%s describes a container %q, but there is one already that it has not made: remove or rename that one", want.Source.Path, want.Name)
		}
	case err != nil && !isNotFound(err):
		return Container{}, err
	default:
		c, err := e.Create(ctx, opt)
		if err != nil {
			return Container{}, err
		}
		return c, e.equip(ctx, c.Container)
	}
	img, err := e.resolveImage(ctx, opt)
	if err != nil {
		return Container{}, err
	}
	if old.Source.Digest == want.Source.Digest && old.Image.ID == string(img.ID) {
		return Container{Container: old}, e.equip(ctx, old)
	}
	opt.Pull = PullMissing // once is enough
	if err := e.Remove(ctx, old.ID, RemoveOptions{Volumes: true}); err != nil {
		return Container{}, fmt.Errorf("replace %q: %w", old.Name, err)
	}
	c, err := e.Create(ctx, opt)
	if err != nil {
		return Container{}, err
	}
	return c, e.equip(ctx, c.Container)
}

// equip makes sure of what the start of a described container needs beside its unit.
func (e *Engine) equip(ctx context.Context, c spec.Container) error {
	if err := e.ensureDaemons(ctx, c); err != nil {
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	mounts, err := e.volumeUnits(ctx, conn, c)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return conflict("container %q uses a volume with options, which would have to be mounted before its unit is started: mount it on the host, and name the directory", c.Name)
	}
	return e.state.WithLock(ctx, c.ID, func(c spec.Container) error {
		if err := e.checkNetworksOf(c); err != nil {
			return err
		}
		_, err := e.choosePorts(c)
		return err
	})
}

// startDescribed starts a described container by its unit, which may replace it.
func (e *Engine) startDescribed(ctx context.Context, c spec.Container) error {
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if up, err := e.isUp(ctx, c); err != nil || up {
		return err
	}
	if err := e.state.ForgetExit(c.ID); err != nil {
		return err
	}
	err = conn.Start(ctx, c.UnitName())
	if isNotFound(err) {
		return conflict("the unit of container %q is gone: it was made from %s; if that is there, run 'systemctl daemon-reload'", c.Name, c.Source.Path)
	}
	if now, findErr := e.state.Find(c.Name); findErr == nil {
		c = now
	}
	if err == nil {
		return e.confirmStart(ctx, c)
	}
	return e.explainStart(ctx, c, err)
}

// checkNotDescribed refuses to change what a file says.
func checkNotDescribed(c spec.Container) error {
	if c.Source == nil {
		return nil
	}
	return conflict("container %q is described by %s: change that, and restart its unit", c.Name, c.Source.Path)
}

// SweepDescribed removes the containers whose files are gone, unless they run. It
// returns their names.
func (e *Engine) SweepDescribed(ctx context.Context) ([]string, error) {
	found, err := e.checkDescribed(ctx, true)
	var names []string
	for _, f := range found {
		names = append(names, f.Object)
	}
	return names, err
}

// checkDescribed finds described containers whose files are gone.
func (e *Engine) checkDescribed(ctx context.Context, repair bool) ([]Finding, error) {
	all, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	var found []Finding
	var errs []error
	for _, c := range all {
		if c.Source == nil || fsx.Exists(c.Source.Path) || !slices.Contains([]Status{StatusExited, StatusCreated, StatusDead}, c.Status) {
			continue
		}
		f := Finding{Object: "container " + c.Name, Problem: "the file that describes it, " + c.Source.Path + ", is gone"}
		if repair {
			err := e.Remove(ctx, c.ID, RemoveOptions{Volumes: true})
			errs = append(errs, ignoreNotFound(err))
			f.Repaired = err == nil
		}
		found = append(found, f)
	}
	return found, errors.Join(errs...)
}

// DescribedUnits returns the units of a described container as files, its service
// first, without looking at anything but the configuration: at boot nothing is
// mounted yet. Ports that are chosen at each start, and those on IPv6 addresses, have
// no socket.
func DescribedUnits(opt Options, create CreateOptions) ([]UnitFile, error) {
	c := create.Container
	c.Image.Reference = create.Image
	bridged := !slices.ContainsFunc(create.Networks, func(r NetworkRequest) bool {
		return r.Name == "none" || r.Name == "host" || strings.HasPrefix(r.Name, "container:")
	})
	cfg, err := config.Load(cmp.Or(opt.Config, config.Path))
	if err != nil {
		return nil, err
	}
	var ports []spec.Port
	for _, p := range c.Network.Ports {
		if p.HostPort == 0 || p.HostPortLast != 0 || !bridged {
			continue
		}
		if !p.HostIP.IsValid() {
			p.HostIP = cfg.PublishAddress
		}
		ports = append(ports, p)
	}
	var units []unitgen.Unit
	if listens := unitgen.Listens(ports, false); len(listens) > 0 {
		socket, err := unitgen.Socket(c, listens)
		if err != nil {
			return nil, err
		}
		units = append(units, socket)
	}
	service, err := unitgen.Service(c, unitgen.ServiceInput{
		InitPath: filepath.Join(cmp.Or(opt.Libexec, libexec()), initProgram),
		Root:     cmp.Or(opt.Root, state.DefaultRoot), RunRoot: cmp.Or(opt.RunRoot, state.DefaultRunRoot),
		Ref: c.Name, Sockets: socketNames(units), Names: bridged,
	})
	if err != nil {
		return nil, err
	}
	var files []UnitFile
	for _, u := range append([]unitgen.Unit{service}, units...) {
		files = append(files, UnitFile{u.Name, unitgen.Text(u)})
	}
	return files, nil
}

// UnitOf returns the unit of a container that is called name.
func UnitOf(name string) string { return spec.UnitOf(name) }
