package compose

import (
	"fmt"
	"slices"
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
