package engine

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/spec"
)

// Pruned is what a prune has removed, also where it failed in the middle.
type Pruned struct {
	Kinds []PrunedKind
	Bytes int64 // given back
}

// PrunedKind is what was removed of one kind of object.
type PrunedKind struct {
	Name    string   // as Docker's headings say it: "Containers"
	Removed []string // ids or names
}

func (p *Pruned) add(more Pruned) {
	p.Kinds = append(p.Kinds, more.Kinds...)
	p.Bytes += more.Bytes
}

// PruneContainers removes the containers that do not run and match f. Their
// volumes stay.
func (e *Engine) PruneContainers(ctx context.Context, f PruneFilter) (Pruned, error) {
	all, err := e.List(ctx)
	if err != nil {
		return Pruned{}, err
	}
	kind, bytes := PrunedKind{Name: "Containers"}, int64(0)
	var errs []error
	for _, c := range all {
		if isUp(c.Status) || !f.match(c.Labels, c.Created) {
			continue
		}
		size, err := e.writableBytes(ctx, c.ID)
		if err == nil {
			err = e.Remove(ctx, c.ID, RemoveOptions{})
		}
		switch {
		case err == nil:
			kind.Removed, bytes = append(kind.Removed, c.ID), bytes+size
		case ctx.Err() != nil:
			return Pruned{[]PrunedKind{kind}, bytes}, err
		case !isNotFound(err) && !errors.Is(err, spec.ErrConflict): // else removed or started meanwhile
			errs = append(errs, err)
		}
	}
	p := Pruned{[]PrunedKind{kind}, bytes}
	e.tellPruned(event.Container, p)
	return p, errors.Join(errs...)
}

// isUp reports whether a container has a payload, or will have one again.
func isUp(s Status) bool {
	return s == StatusRunning || s == StatusPaused || s == StatusRestarting || s == StatusSleeping
}

// writableBytes returns what a container has written to its own layer.
func (e *Engine) writableBytes(ctx context.Context, id string) (int64, error) {
	return usage(ctx, e.upperDir(id))
}

// usage is rootfs.Usage, and 0 for a directory that has gone.
func usage(ctx context.Context, dir string) (int64, error) {
	n, err := rootfs.Usage(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return n, err
}

// PruneVolumesOptions says what PruneVolumes removes.
type PruneVolumesOptions struct {
	All    bool // also volumes that the user has named
	Filter PruneFilter
}

// PruneVolumes removes the volumes that no container mounts: those whose names
// were made up, or all of them.
func (e *Engine) PruneVolumes(ctx context.Context, opt PruneVolumesOptions) (Pruned, error) {
	unused := true
	all, err := e.Volumes(ctx, VolumeFilter{Dangling: &unused})
	if err != nil {
		return Pruned{}, err
	}
	var names []string
	sizes := map[string]int64{}
	for _, v := range all {
		if !opt.All && !v.Anonymous || !opt.Filter.match(v.Labels, v.Created) {
			continue
		}
		if sizes[v.Name], err = usage(ctx, v.Mountpoint); err != nil {
			return Pruned{}, err
		}
		names = append(names, v.Name)
	}
	done, err := e.state.RemoveUnusedVolumes(ctx, names, e.releaseVolume)
	e.tellDestroyed(done)
	p := Pruned{Kinds: []PrunedKind{{Name: "Volumes", Removed: done.Removed}}}
	for _, name := range done.Removed {
		p.Bytes += sizes[name]
	}
	e.tellPruned(event.Volume, p)
	return p, err
}

// PruneSystemOptions says what PruneSystem removes.
type PruneSystemOptions struct {
	AllImages bool // also images with a tag
	Volumes   bool // also volumes whose names were made up
	Filter    PruneFilter
}

// PruneSystem removes what nobody uses: stopped containers first, because they
// keep the rest in use. What fails does not keep the others from being removed.
func (e *Engine) PruneSystem(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
	steps := []func(context.Context, PruneSystemOptions) (Pruned, error){
		func(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
			return e.PruneContainers(ctx, opt.Filter)
		},
		func(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
			return e.PruneNetworks(ctx, opt.Filter)
		},
		func(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
			if !opt.Volumes {
				return Pruned{}, nil
			}
			return e.PruneVolumes(ctx, PruneVolumesOptions{Filter: opt.Filter})
		},
		func(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
			return e.PruneImages(ctx, PruneImagesOptions{All: opt.AllImages, Filter: opt.Filter})
		},
		func(ctx context.Context, opt PruneSystemOptions) (Pruned, error) {
			if len(opt.Filter.Labels)+len(opt.Filter.NotLabels) > 0 {
				return Pruned{}, nil // steps have no labels
			}
			return e.PruneBuilds(ctx, PruneBuildsOptions{All: opt.AllImages, Before: opt.Filter.Until})
		},
	}
	var done Pruned
	var errs []error
	for _, step := range steps {
		p, err := step(ctx, opt)
		done.add(p)
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return done, errors.Join(errs...)
}
