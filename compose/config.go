package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
)

// Config returns the project as one file, in "yaml" or "json".
func (p *Project) Config(format string) ([]byte, error) {
	switch format {
	case "", "yaml":
		return p.model.MarshalYAML()
	case "json":
		data, err := p.model.MarshalJSON()
		return append(data, '\n'), err
	}
	return nil, fmt.Errorf("format %q: must be yaml or json", format)
}

// Variable is what a file of the project interpolates.
type Variable struct {
	Name           string
	Required       bool   // it is an error if it is not set
	DefaultValue   string // ${NAME:-VALUE}
	AlternateValue string // ${NAME:+VALUE}
}

// Variables returns what the files of a project interpolate, sorted by name.
func Variables(ctx context.Context, opt LoadOptions) (list []Variable, err error) {
	defer hearWarnings(opt.Warn)()
	opt.NoInterpolate = true
	po, err := projectOptions(opt)
	if err != nil {
		return nil, err
	}
	model, err := po.LoadModel(ctx)
	if err != nil {
		return nil, explainLoad(po.ConfigPaths, err)
	}
	found := template.ExtractVariables(model, template.DefaultPattern)
	for _, name := range sorted(found) {
		v := found[name]
		list = append(list, Variable{v.Name, v.Required, v.DefaultValue, v.PresenceValue})
	}
	return list, nil
}

// ReadEnvFiles reads files of variables, in the form of Compose. Later ones win.
func ReadEnvFiles(files []string) (list []string, err error) {
	env, err := dotenv.GetEnvFromFile(map[string]string{}, files)
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	for _, name := range sorted(env) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// Pin returns the project with the images that digest knows by content. With alone,
// services have nothing but those: what is left is for another -f.
func (p *Project) Pin(alone bool, digest func(image string) (string, error)) (*Project, error) {
	pinned := map[string]types.ServiceConfig{}
	for name, s := range p.model.Services {
		if s.Image != "" && !strings.Contains(s.Image, "@") {
			d, err := digest(s.Image)
			if err != nil {
				return nil, fmt.Errorf("find the digest of %q, the image of service %q: %w", s.Image, name, err)
			}
			s.Image += "@" + d
		}
		if alone {
			s = types.ServiceConfig{ContainerSpec: types.ContainerSpec{Image: s.Image}}
		}
		pinned[name] = s
	}
	model := *p.model
	if alone {
		model = types.Project{}
	}
	model.Services = pinned
	return &Project{model: &model, findings: p.findings}, nil
}

// Images returns the images that the active services use, sorted.
func (p *Project) Images() (list []string) {
	for _, s := range p.model.Services {
		list = append(list, p.imageOf(s))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ImageOf returns the image of a service, "" if there is no such service.
func (p *Project) ImageOf(service string) string {
	if s, ok := p.model.Services[service]; ok {
		return p.imageOf(s)
	}
	return ""
}

// Volumes returns the keys of the project's volumes, sorted.
func (p *Project) Volumes() []string { return p.model.VolumeNames() }

// Networks returns the keys of the project's networks, sorted.
func (p *Project) Networks() []string { return p.model.NetworkNames() }

// Profiles returns the profiles that any service has, sorted.
func (p *Project) Profiles() (list []string) {
	for _, s := range p.model.AllServices() {
		list = append(list, s.Profiles...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Hashes returns the hash of each active service, as Docker's compose computes it.
func (p *Project) Hashes() (map[string]string, error) {
	hashes := map[string]string{}
	for name, s := range p.model.Services {
		hash, err := dockerHash(s)
		if err != nil {
			return nil, err
		}
		hashes[name] = hash
	}
	return hashes, nil
}

// Environment returns the variables that files are interpolated with, sorted.
func (p *Project) Environment() []string {
	list := make([]string, 0, len(p.model.Environment))
	for k, v := range p.model.Environment {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// Attached reports whether "up" in the foreground shows a service's output.
func (p *Project) Attached(service string) bool {
	s := p.model.Services[service]
	return s.Attach == nil || *s.Attach
}

// Dir returns the project's directory.
func (p *Project) Dir() string { return p.model.WorkingDir }
