package plan

import (
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/internal/fsx"
)

// LoadStart reads the plan in dir as Load does, but of config.json only what a
// start uses; the rest of Config is zero. It takes a third of Load's time: the
// decoder prepares for every field of every type that it might meet, and most
// of the text is the seccomp profile, which the annex has in compiled form.
func LoadStart(dir string) (Plan, error) {
	var c config
	if err := fsx.ReadJSON(filepath.Join(dir, ConfigFile), &c); err != nil {
		return Plan{}, err
	}
	a, err := LoadAnnex(dir)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Config: c.spec(), Annex: a}, nil
}

// config is what a start uses of specs.Spec. A field that is not here does
// nothing: this is the list to extend.
type config struct {
	Process    *process       `json:"process"`
	Root       root           `json:"root"`
	Hostname   string         `json:"hostname"`
	Domainname string         `json:"domainname"`
	Mounts     []mount        `json:"mounts"`
	Linux      *linuxSettings `json:"linux"`
}

type root struct {
	Readonly bool `json:"readonly"`
}

type process struct {
	User            user     `json:"user"`
	Args            []string `json:"args"`
	Env             []string `json:"env"`
	Cwd             string   `json:"cwd"`
	Capabilities    *caps    `json:"capabilities"`
	Rlimits         []rlimit `json:"rlimits"`
	NoNewPrivileges bool     `json:"noNewPrivileges"`
	ApparmorProfile string   `json:"apparmorProfile"`
	SelinuxLabel    string   `json:"selinuxLabel"`
}

type user struct {
	Umask *uint32 `json:"umask"`
}

type caps struct {
	Bounding  []string `json:"bounding"`
	Permitted []string `json:"permitted"`
	Ambient   []string `json:"ambient"`
}

type rlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

type mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

type linuxSettings struct {
	Sysctl            map[string]string      `json:"sysctl"`
	Namespaces        []specs.LinuxNamespace `json:"namespaces"`
	Devices           []specs.LinuxDevice    `json:"devices"`
	RootfsPropagation string                 `json:"rootfsPropagation"`
	MaskedPaths       []string               `json:"maskedPaths"`
	ReadonlyPaths     []string               `json:"readonlyPaths"`
	MountLabel        string                 `json:"mountLabel"`
}

func (c config) spec() *specs.Spec {
	s := &specs.Spec{
		Root:     &specs.Root{Readonly: c.Root.Readonly},
		Hostname: c.Hostname, Domainname: c.Domainname,
	}
	for _, m := range c.Mounts {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options})
	}
	if c.Process != nil {
		s.Process = c.Process.spec()
	}
	if l := c.Linux; l != nil {
		s.Linux = &specs.Linux{
			Sysctl: l.Sysctl, Namespaces: l.Namespaces, Devices: l.Devices, RootfsPropagation: l.RootfsPropagation,
			MaskedPaths: l.MaskedPaths, ReadonlyPaths: l.ReadonlyPaths, MountLabel: l.MountLabel,
		}
	}
	return s
}

func (p process) spec() *specs.Process {
	s := &specs.Process{
		User: specs.User{Umask: p.User.Umask},
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, NoNewPrivileges: p.NoNewPrivileges,
		ApparmorProfile: p.ApparmorProfile, SelinuxLabel: p.SelinuxLabel,
	}
	if c := p.Capabilities; c != nil {
		s.Capabilities = &specs.LinuxCapabilities{Bounding: c.Bounding, Permitted: c.Permitted, Ambient: c.Ambient}
	}
	for _, l := range p.Rlimits {
		s.Rlimits = append(s.Rlimits, specs.POSIXRlimit(l))
	}
	return s
}
