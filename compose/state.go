package compose

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Backend is what this package needs of the engine.
type Backend interface {
	List(ctx context.Context) ([]engine.Container, error)
	Networks(ctx context.Context, filters map[string][]string) ([]engine.NetworkInspect, error)
	Volumes(ctx context.Context, f engine.VolumeFilter) ([]engine.Volume, error)
	Image(ctx context.Context, ref string) (engine.Image, error)

	Pull(ctx context.Context, ref string, opt engine.PullOptions) (engine.Image, error)
	Push(ctx context.Context, name string, opt engine.PushOptions) error
	Create(ctx context.Context, opt engine.CreateOptions) (engine.Container, error)
	CopyTo(ctx context.Context, ref, name string, r io.Reader, opt engine.CopyToOptions) error
	Rename(ctx context.Context, ref, name string) error
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, opt engine.StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	Remove(ctx context.Context, ref string, opt engine.RemoveOptions) error
	Wait(ctx context.Context, ref string, cond engine.WaitCondition) (int, error)
	Get(ctx context.Context, ref string) (engine.Container, error)
	Events(ctx context.Context, opt engine.EventOptions) iter.Seq2[engine.Event, error]
	Exec(ctx context.Context, ref string, opt engine.ExecOptions) (*engine.Exec, error)

	NetworkCreate(ctx context.Context, opt engine.NetworkCreateOptions) (id string, warnings []string, err error)
	NetworkRemove(ctx context.Context, ref string) error
	CreateVolume(ctx context.Context, opt engine.CreateVolumeOptions) (string, error)
	RemoveVolume(ctx context.Context, name string, opt engine.RemoveVolumeOptions) error
	RemoveImage(ctx context.Context, ref string, opt engine.RemoveImageOptions) ([]engine.RemovedImage, error)
	SetSlice(ctx context.Context, opt engine.SliceOptions) error
	SliceIs(ctx context.Context, opt engine.SliceOptions) (bool, error)
}

var _ Backend = (*engine.Engine)(nil)

// State is what there is of a project, and beside it as far as it matters.
type State struct {
	Containers []engine.Container               // of the project, those of "run" included, by name
	Networks   map[string]engine.NetworkInspect // all of the machine, by name
	Volumes    map[string]engine.Volume         // all of the machine, by name
	Images     map[string]string                // ids of the images that the project names; missing if not here
	SliceDone  bool                             // the slice has the limits that the project wants
	SliceFree  bool                             // the slice has none
}

// ReadState finds out what there is of the project called name. P may be nil, then
// images and the slice are not looked at.
func ReadState(ctx context.Context, eng Backend, name string, p *Project) (*State, error) {
	st := &State{Networks: map[string]engine.NetworkInspect{}, Volumes: map[string]engine.Volume{}, Images: map[string]string{}}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		st.Containers, err = Containers(ctx, eng, name)
		return err
	})
	group.Go(func() error {
		list, err := eng.Networks(ctx, nil)
		for _, n := range list {
			st.Networks[n.Name] = n
		}
		return err
	})
	group.Go(func() error {
		list, err := eng.Volumes(ctx, engine.VolumeFilter{})
		for _, v := range list {
			st.Volumes[v.Name] = v
		}
		return err
	})
	group.Go(func() (err error) {
		st.SliceFree, err = eng.SliceIs(ctx, engine.SliceOptions{Name: SliceName(name)})
		return err
	})
	if p != nil {
		group.Go(func() error { return st.readImages(ctx, eng, p) })
		group.Go(func() error { return st.readSlice(ctx, eng, p) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return st, nil
}

func (st *State) readImages(ctx context.Context, eng Backend, p *Project) error {
	for _, s := range p.model.Services {
		ref := p.imageOf(s)
		if _, known := st.Images[ref]; known {
			continue
		}
		img, err := eng.Image(ctx, ref)
		if err != nil {
			if errors.Is(err, spec.ErrNotFound) {
				continue
			}
			return err
		}
		st.Images[ref] = string(img.ID)
	}
	return nil
}

func (st *State) readSlice(ctx context.Context, eng Backend, p *Project) error {
	opt, err := p.slice()
	if err != nil {
		return err
	}
	st.SliceDone, err = eng.SliceIs(ctx, opt)
	return err
}

// Containers returns those of the project called name, sorted by service and
// number. An empty name means those of all projects.
func Containers(ctx context.Context, eng Backend, name string) ([]engine.Container, error) {
	all, err := eng.List(ctx)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(all, func(c engine.Container) bool {
		project, ok := c.Labels[labelProject]
		return !ok || name != "" && project != name
	})
	slices.SortFunc(list, func(a, b engine.Container) int {
		return cmpOr(cmpString(serviceOf(a), serviceOf(b)), numberOf(a)-numberOf(b), cmpString(a.Name, b.Name))
	})
	return list, nil
}

// ofService returns the containers of a service, without those of "run".
func (st *State) ofService(service string) (list []engine.Container) {
	for _, c := range st.Containers {
		if serviceOf(c) == service && !isOneOff(c) {
			list = append(list, c)
		}
	}
	return list
}
