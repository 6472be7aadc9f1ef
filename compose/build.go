package compose

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Build is what "cleat build" has to be asked for a service's image.
type Build struct {
	Service    string
	Image      string
	Args       []string // of "cleat build", without its name
	Dockerfile string   // to be read from the standard input, if not empty
}

// Builds returns what to build, sorted by service: all services that say how, or
// those whose images are missing.
func (p *Project) Builds(st *State, all bool) (list []Build, err error) {
	for _, name := range p.Services() {
		s := p.model.Services[name]
		_, here := st.Images[p.imageOf(s)]
		if s.Build == nil || !all && here && s.PullPolicy != "build" {
			continue
		}
		args, err := p.buildArgs(s)
		if err != nil {
			return nil, err
		}
		list = append(list, Build{Service: name, Image: p.imageOf(s), Args: args, Dockerfile: s.Build.DockerfileInline})
	}
	return list, nil
}

// buildArgs turns the build section of a service into flags.
func (p *Project) buildArgs(s types.ServiceConfig) ([]string, error) {
	b := s.Build
	args := []string{"--tag", p.imageOf(s)}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	for _, tag := range b.Tags {
		add("--tag", tag)
	}
	switch {
	case b.DockerfileInline != "":
		add("--file", "-")
	case filepath.IsAbs(b.Dockerfile) || b.Dockerfile == "":
		add("--file", b.Dockerfile)
	default:
		add("--file", filepath.Join(b.Context, b.Dockerfile))
	}
	for _, k := range slices.Sorted(maps.Keys(b.Args)) {
		if v := b.Args[k]; v != nil {
			add("--build-arg", k+"="+*v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.Labels)) {
		add("--label", k+"="+b.Labels[k])
	}
	for _, k := range slices.Sorted(maps.Keys(b.AdditionalContexts)) {
		if strings.HasPrefix(b.AdditionalContexts[k], types.ServicePrefix) {
			return nil, p.refusef("services."+s.Name+".build.additional_contexts", "%q is another service, which is not supported by this version", b.AdditionalContexts[k])
		}
		add("--build-context", k+"="+b.AdditionalContexts[k])
	}
	hosts := b.ExtraHosts.AsList(":")
	slices.Sort(hosts)
	for _, h := range hosts {
		add("--add-host", h)
	}
	for _, e := range b.Entitlements {
		add("--allow", e)
	}
	add("--target", b.Target)
	add("--network", b.Network)
	if b.ShmSize > 0 {
		add("--shm-size", fmt.Sprint(int64(b.ShmSize)))
	}
	args = append(args, p.buildSwitches(b)...)
	secrets, err := p.buildSecrets(s)
	return append(append(args, secrets...), "--", b.Context), err
}

func (p *Project) buildSwitches(b *types.BuildConfig) (args []string) {
	if b.NoCache {
		args = append(args, "--no-cache")
	}
	if b.Pull {
		args = append(args, "--pull")
	}
	for _, platform := range b.Platforms {
		args = append(args, "--platform", platform)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		args = append(args, "--ulimit", fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	return args
}

// buildSecrets are files of the host alone: what is in a variable would show in
// the command line.
func (p *Project) buildSecrets(s types.ServiceConfig) (args []string, err error) {
	for _, ref := range s.Build.Secrets {
		object, ok := p.model.Secrets[ref.Source]
		switch {
		case !ok:
			err = fmt.Errorf("the project has no secret %q", ref.Source)
		case object.File != "":
			args = append(args, "--secret", "id="+or(ref.Target, ref.Source)+",src="+object.File)
		case object.Environment != "":
			args = append(args, "--secret", "id="+or(ref.Target, ref.Source)+",env="+object.Environment)
		default:
			err = fmt.Errorf("secret %q has to be a file or a variable", ref.Source)
		}
		if err != nil {
			return nil, p.refusef("services."+s.Name+".build.secrets", "%w", err)
		}
	}
	return args, nil
}
