package compose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// RunOptions says what container "compose run" makes of a service. What is
// empty is the service's own.
type RunOptions struct {
	Name         string
	Command      []string
	Entrypoint   *string // "" means none
	Env          []string
	Labels       map[string]string
	User, Dir    string
	CapAdd       []string
	CapDrop      []string
	Mounts       []spec.Mount
	Ports        []spec.Port
	ServicePorts bool // publish those of the service too
	Aliases      bool // be known in networks under the service's name
	TTY, Stdin   bool
	Remove       bool
}

// OneOff is what to create for "compose run".
type OneOff struct {
	engine.CreateOptions
	files []injected
}

// Create makes the container.
func (o OneOff) Create(ctx context.Context, eng Backend) (engine.Container, error) {
	made, err := eng.Create(ctx, o.CreateOptions)
	if err != nil || len(o.files) == 0 {
		return made, err
	}
	x := &execution{Runner: Runner{Engine: eng}}
	if err := x.writeFiles(ctx, Step{Object: made.Name, ID: made.ID, Files: o.files}); err != nil {
		return made, errors.Join(fmt.Errorf("write configs into %s: %w", made.Name, err), eng.Remove(context.WithoutCancel(ctx), made.ID, engine.RemoveOptions{Volumes: true}))
	}
	return made, nil
}

// OneOff returns what to create for "compose run".
func (p *Project) OneOff(service string, r RunOptions) (OneOff, error) {
	if err := p.Check(); err != nil {
		return OneOff{}, err
	}
	s, ok := p.model.Services[service]
	if !ok {
		return OneOff{}, fmt.Errorf("no such service: %q: %w", service, spec.ErrNotFound)
	}
	s.ContainerName = ""
	w, err := p.convert(s)
	if err != nil {
		return OneOff{}, err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	slug := hex.EncodeToString(random)
	name := or(r.Name, fmt.Sprintf("%s-%s-run-%s", p.Name(), service, slug[:12]))
	opt := p.createOptions(w, 1, name, nil)
	r.apply(&opt)
	labels := opt.Container.Labels
	labels[labelOneOff], labels[labelSlug] = "True", slug
	delete(labels, labelNumber)
	for k, v := range r.Labels {
		labels[k] = v
	}
	return OneOff{opt, w.files}, nil
}

// apply changes a service's container as the command line says.
func (r RunOptions) apply(opt *engine.CreateOptions) {
	ct := &opt.Container
	ct.Restart, ct.AutoRemove = spec.RestartPolicy{}, r.Remove
	ct.Process.TTY, ct.Process.OpenStdin, ct.Process.StdinOnce = r.TTY, r.Stdin, r.Stdin
	ct.Process.Env = append(ct.Process.Env[:len(ct.Process.Env):len(ct.Process.Env)], r.Env...)
	ct.Process.User, ct.Process.Dir = or(r.User, ct.Process.User), or(r.Dir, ct.Process.Dir)
	if len(r.Command) > 0 {
		ct.Process.Cmd = r.Command
	}
	if r.Entrypoint != nil {
		ct.Process.Entrypoint, opt.NoEntrypoint = nil, *r.Entrypoint == ""
		if *r.Entrypoint != "" {
			ct.Process.Entrypoint = []string{*r.Entrypoint}
		}
	}
	ct.Security.CapAdd = append(ct.Security.CapAdd[:len(ct.Security.CapAdd):len(ct.Security.CapAdd)], r.CapAdd...)
	ct.Security.CapDrop = append(ct.Security.CapDrop[:len(ct.Security.CapDrop):len(ct.Security.CapDrop)], r.CapDrop...)
	ct.Mounts = append(ct.Mounts, r.Mounts...)
	if !r.ServicePorts {
		ct.Network.Ports = nil
	}
	ct.Network.Ports = append(ct.Network.Ports[:len(ct.Network.Ports):len(ct.Network.Ports)], r.Ports...)
	for i := range opt.Networks {
		if !r.Aliases {
			opt.Networks[i].Aliases = nil
		}
	}
}
