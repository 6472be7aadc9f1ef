package unitgen

import (
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// PlainInput is what Plain has to know beyond the container.
type PlainInput struct {
	RootDirectory string            // where the container's file system is unpacked
	Capabilities  []string          // that the payload may have, as "CAP_CHOWN"
	Volumes       map[string]string // directories of its volumes, by name
	WantedBy      string            // the target that a boot unit is enabled in; "" means multi-user.target
}

// Plain returns the unit that runs container c with what systemd itself has, and
// nothing of cleat: for those who want to leave, or to see what a container is. Its
// file system has to be unpacked in a directory, its output goes to the journal
// straight, and it has no network of its own but for none.
func Plain(c spec.Container, in PlainInput) (Unit, error) {
	if err := checkName(c.Name); err != nil {
		return Unit{}, err
	}
	u := Unit{Name: c.Name + ".service", Plain: true}
	own := []func(spec.Container, PlainInput) ([]Property, error){plainProcess, plainMounts, plainSandbox, plainOrdering}
	for _, part := range own {
		props, err := part(c, in)
		if err != nil {
			return Unit{}, fmt.Errorf("unit %s: %w", u.Name, err)
		}
		u.Properties = append(u.Properties, props...)
	}
	for _, part := range []func(spec.Container, ServiceInput) ([]Property, error){killing, limits, rlimits, devices} {
		props, err := part(c, ServiceInput{})
		if err != nil {
			return Unit{}, fmt.Errorf("unit %s: %w", u.Name, err)
		}
		u.Properties = append(u.Properties, props...)
	}
	sortProperties(u.Properties)
	if c.Restart.Boot() {
		u.Install = []string{or(in.WantedBy, DefaultTarget)}
	}
	return u, nil
}

func plainProcess(c spec.Container, in PlainInput) ([]Property, error) {
	argv := c.Process.Argv()
	if len(argv) == 0 {
		return nil, fmt.Errorf("no command: %w", spec.ErrInvalid)
	}
	props := []Property{
		{"Description", printable("Container " + c.Name + " (" + c.Image.Reference + ")")},
		{"Environment", append(EnvList{}, c.Process.Env...)},
		{"ExecStart", []Exec{{Path: argv[0], Args: argv}}},
		{"RootDirectory", in.RootDirectory},
		{"OOMPolicy", "continue"},
		{"Type", "exec"},
		{"WorkingDirectory", or(c.Process.Dir, "/")},
	}
	user, group, _ := strings.Cut(c.Process.User, ":")
	if user != "" {
		props = append(props, Property{"User", user})
	}
	if group != "" {
		props = append(props, Property{"Group", group})
	}
	if len(c.Process.Groups) > 0 {
		props = append(props, Property{"SupplementaryGroups", c.Process.Groups})
	}
	switch c.Restart.Mode {
	case spec.RestartAlways, spec.RestartUnlessStopped:
		props = append(props, Property{"Restart", "always"}, Property{"StartLimitIntervalUSec", uint64(0)})
	case spec.RestartOnFailure:
		props = append(props, Property{"Restart", "on-failure"})
	case spec.RestartNo, "":
	}
	return props, nil
}

// plainMounts binds what the container mounts. A colon separates the parts of such
// a setting.
func plainMounts(c spec.Container, in PlainInput) ([]Property, error) {
	var writable, readOnly, memory []string
	for _, m := range c.Mounts {
		source := m.Source
		if m.Type == spec.MountVolume {
			source = in.Volumes[m.Source]
		}
		if m.Type == spec.MountTmpfs {
			memory = append(memory, colons(m.Target)+":mode=1777")
			continue
		}
		bind := colons(source) + ":" + colons(m.Target) + ":rbind"
		if m.ReadOnly {
			readOnly = append(readOnly, bind)
		} else {
			writable = append(writable, bind)
		}
	}
	var props []Property
	for _, p := range []Property{{"BindPaths", writable}, {"BindReadOnlyPaths", readOnly}, {"TemporaryFileSystem", memory}} {
		if list, _ := p.Value.([]string); len(list) > 0 {
			props = append(props, p)
		}
	}
	return props, nil
}

func colons(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

// plainSandbox walls the payload in as well as systemd can.
func plainSandbox(c spec.Container, in PlainInput) ([]Property, error) {
	props := []Property{{"MountAPIVFS", true}}
	if c.Network.Mode == "none" {
		props = append(props, Property{"PrivateNetwork", true})
	}
	if c.IPCMode == "" {
		props = append(props, Property{"PrivateIPC", true})
	}
	if c.UTSMode == "" {
		props = append(props, Property{"ProtectHostname", true})
	}
	if c.ReadOnly {
		props = append(props, Property{"ReadOnlyPaths", []string{"/"}})
	}
	if c.Security.NoNewPrivileges {
		props = append(props, Property{"NoNewPrivileges", true})
	}
	if c.Security.Privileged {
		return props, nil
	}
	return append(props,
		Property{"CapabilityBoundingSet", in.Capabilities},
		Property{"LockPersonality", true},
		Property{"PrivateDevices", len(c.Devices) == 0},
		Property{"ProtectClock", true},
		Property{"ProtectControlGroups", true},
		Property{"ProtectKernelLogs", true},
		Property{"ProtectKernelModules", true},
		Property{"ProtectKernelTunables", true},
		Property{"RestrictNamespaces", true},
		Property{"SystemCallArchitectures", "native"},
	), nil
}

func plainOrdering(c spec.Container, in PlainInput) ([]Property, error) {
	paths := []string{expressible(in.RootDirectory)}
	for _, m := range c.Mounts {
		if m.Type == spec.MountBind {
			paths = append(paths, expressible(m.Source))
		}
	}
	required, after, err := dependOn(c)
	if err != nil {
		return nil, err
	}
	props := []Property{{"RequiresMountsFor", paths}}
	if len(required) > 0 {
		props = append(props, Property{"Requires", required})
	}
	if len(after) > 0 {
		props = append(props, Property{"After", after})
	}
	return props, nil
}
