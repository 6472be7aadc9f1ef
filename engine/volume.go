package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// anonymousLabel marks a volume whose name was made up, as Docker marks it.
const anonymousLabel = "com.docker.volume.anonymous"

// localDriver is the only driver of volumes: directories of this machine, and
// what mount(8) can put there.
const localDriver = "local"

// Volume is a volume with who uses it.
type Volume struct {
	Name       string
	Created    time.Time
	Mountpoint string            // its directory on the host
	Labels     map[string]string // nil without any
	Options    map[string]string // of the driver; nil without any
	Anonymous  bool              // its name was made up
	Users      []string          // ids of the containers that mount it
}

// VolumeInspect is a volume in Docker's form (Engine API, Volume).
type VolumeInspect struct {
	CreatedAt  string
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string
}

// CreateVolumeOptions says what volume to create.
type CreateVolumeOptions struct {
	Name    string            // "" makes one up
	Driver  string            // "" means local, which is the only one
	Options map[string]string // of the driver: type, device, o, as for mount(8)
	Labels  map[string]string
}

// CreateVolume makes a volume, and returns its name. One of that name that
// exists is left as it is, as in Docker.
func (e *Engine) CreateVolume(ctx context.Context, opt CreateVolumeOptions) (string, error) {
	v := state.Volume{Name: opt.Name, Created: time.Now().UTC(), Labels: opt.Labels, Options: opt.Options}
	if v.Name == "" {
		v.Name = newID()
		v.Labels = withLabel(v.Labels, anonymousLabel)
	}
	if err := checkVolumeName(v.Name); err != nil {
		return "", err
	}
	if opt.Driver != "" && opt.Driver != localDriver {
		return "", fmt.Errorf("create volume %q: there is no volume driver %q: the only one is %q: %w", v.Name, opt.Driver, localDriver, spec.ErrNotFound)
	}
	if _, err := e.volumeMount(v); err != nil {
		return "", fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	made, err := e.state.EnsureVolume(ctx, v)
	if made {
		e.tellVolume("create", v.Name)
	}
	return v.Name, err
}

// withLabel returns labels with one more, whose value is empty.
func withLabel(labels map[string]string, name string) map[string]string {
	out := map[string]string{name: ""}
	for k, v := range labels {
		out[k] = v
	}
	return out
}

// VolumeFilter narrows a list of volumes. The zero value matches all.
type VolumeFilter struct {
	Names   []string // regular expressions, one of which must match
	Drivers []string // one of which must be its driver
	Labels  []string // KEY or KEY=VALUE, all of which it must have

	// Dangling is whether no container may mount it, or one must; nil for either.
	Dangling *bool
}

// Volumes returns the volumes that match, sorted by name.
func (e *Engine) Volumes(_ context.Context, f VolumeFilter) ([]Volume, error) {
	names, err := compilePatterns(f.Names)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	if f.Dangling != nil { // reads every container
		if users, err = e.state.VolumeUsers(); err != nil {
			return nil, err
		}
	}
	all, err := e.state.Volumes()
	if err != nil {
		return nil, err
	}
	var list []Volume
	for _, v := range all {
		dangling := len(users[v.Name]) == 0
		if names.match(v.Name) && hasAllLabels(v.Labels, f.Labels) && (f.Dangling == nil || *f.Dangling == dangling) &&
			(len(f.Drivers) == 0 || slices.Contains(f.Drivers, localDriver)) {
			list = append(list, e.volume(v, users[v.Name]))
		}
	}
	return list, nil
}

func (e *Engine) volume(v state.Volume, users []string) Volume {
	_, marked := v.Labels[anonymousLabel]
	return Volume{
		Name: v.Name, Created: v.Created, Mountpoint: e.state.VolumeDir(v.Name), Labels: v.Labels, Options: v.Options,
		Anonymous: v.Anonymous || marked, Users: users,
	}
}

// InspectVolume returns a volume in Docker's form.
func (e *Engine) InspectVolume(_ context.Context, name string) (*VolumeInspect, error) {
	v, err := e.state.LoadVolume(name)
	if err != nil {
		return nil, err
	}
	return &VolumeInspect{
		CreatedAt: v.Created.UTC().Format(time.RFC3339), Driver: localDriver, Labels: v.Labels, Mountpoint: e.state.VolumeDir(v.Name),
		Name: v.Name, Options: v.Options, Scope: "local",
	}, nil
}

// RemoveVolumeOptions says how to remove a volume.
type RemoveVolumeOptions struct {
	Force bool // one that does not exist is no error; one in use is all the same
}

// RemoveVolume deletes a volume with its files, unless a container mounts it.
func (e *Engine) RemoveVolume(ctx context.Context, name string, opt RemoveVolumeOptions) error {
	if _, err := e.state.LoadVolume(name); err != nil {
		if opt.Force && isNotFound(err) {
			return nil
		}
		return err
	}
	done, err := e.state.RemoveUnusedVolumes(ctx, []string{name}, e.releaseVolume)
	e.tellDestroyed(done)
	if users := done.Users[name]; len(users) > 0 {
		return conflict("remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	if opt.Force && isNotFound(err) {
		return nil
	}
	return err
}

// tellDestroyed tells of the volumes that are gone.
func (e *Engine) tellDestroyed(done state.VolumeRemoval) {
	for _, name := range done.Removed {
		e.tellVolume("destroy", name)
	}
}
