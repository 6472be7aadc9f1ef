package engine

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/sandbox/profile"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// plan computes the start plan of c and the other files that its directory
// starts with: the ones Docker binds into /etc.
func (e *Engine) plan(ctx context.Context, c spec.Container, opt CreateOptions, img Image) (map[string][]byte, error) {
	in, err := e.profileInput(c, opt, img)
	if err != nil {
		return nil, err
	}
	p, err := profile.Build(c, in)
	if err != nil {
		return nil, err
	}
	files, err := p.Encode()
	if err != nil {
		return nil, err
	}
	etc, err := e.networkFiles(ctx, c)
	if err != nil {
		return nil, err
	}
	for name, data := range etc {
		files[name] = data
	}
	files["hostname"] = []byte(profile.HostnameOn(c, in.Host) + "\n")
	return files, nil
}

// profileInput gathers what the plan depends on beyond the container.
func (e *Engine) profileInput(c spec.Container, opt CreateOptions, img Image) (profile.Input, error) {
	host, err := profile.ReadHost()
	if err != nil {
		return profile.Input{}, err
	}
	in := profile.Input{
		Host:          host,
		Skeleton:      e.state.Skeleton(),
		ContainersDir: filepath.Dir(e.state.Dir(c.ID)),
		VolumesDir:    filepath.Join(e.opt.Root, "volumes"),
		StdioSocket:   e.stdioSocket(),
		HealthSocket:  e.healthSocket(),
		NotifyDir:     filepath.Dir(e.state.NotifyDir(c.ID)),
		InitBinary:    filepath.Join(e.opt.Libexec, initProgram),
		JournalFields: journalFields(c, opt),
	}
	for _, d := range img.Layers {
		in.Layers = append(in.Layers, e.images.LayerDir(d))
	}
	if in.Devices, err = profile.DeviceNodes(c.Devices); err != nil {
		return profile.Input{}, err
	}
	if c.Security.Privileged {
		if in.HostDevices, err = profile.HostDevices(); err != nil {
			return profile.Input{}, err
		}
	}
	return in, nil
}

// stdioSocket is where the stdio broker listens.
func (e *Engine) stdioSocket() string { return filepath.Join(e.opt.RunRoot, "stdiod.sock") }

// healthSocket is where the daemon that watches over containers listens.
func (e *Engine) healthSocket() string { return filepath.Join(e.opt.RunRoot, "healthd.sock") }

// journalFields returns the fields of every line of output that --log-opt
// labels= and env= ask for, beside the standard ones of package profile.
func journalFields(c spec.Container, opt CreateOptions) []string {
	var fields []string
	for _, name := range opt.LogLabels {
		if v, ok := c.Labels[name]; ok {
			fields = append(fields, fieldName(name)+"="+v)
		}
	}
	for _, kv := range c.Process.Env {
		name, v, _ := strings.Cut(kv, "=")
		if slices.Contains(opt.LogEnv, name) {
			fields = append(fields, fieldName(name)+"="+v)
		}
	}
	return fields
}

// fieldName makes a journal field name of a label or variable, as Docker's
// journald driver does: upper case, other characters become "_". A leading
// underscore would be journald's own.
func fieldName(name string) string {
	upper := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	return strings.TrimLeft(upper, "_")
}

// etcHosts returns /etc/hosts of c, but for the lines of its own addresses, which
// it gets when it starts.
func etcHosts(c spec.Container) ([]byte, error) {
	if c.Network.Mode != "host" {
		return profile.Hosts(c, profile.Hostname(c))
	}
	text, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return profile.HostsOnHost(string(text), c)
}

// containerUnits returns the systemd units of c, its service first, and makes sure
// of those that it requires. The others, if c publishes ports, are the sockets that
// reserve them and what serves those.
func (e *Engine) containerUnits(ctx context.Context, c spec.Container, ports []spec.Port) ([]unitgen.Unit, error) {
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, err
	}
	version, err := conn.Version(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := profile.DeviceNodes(c.Devices)
	if err != nil {
		return nil, err
	}
	sockets, err := e.socketUnits(c, ports)
	if err != nil {
		return nil, err
	}
	mounts, err := e.volumeUnits(ctx, conn, c)
	if err != nil {
		return nil, err
	}
	service, err := unitgen.Service(c, unitgen.ServiceInput{
		InitPath:       filepath.Join(e.opt.Libexec, initProgram),
		Root:           e.opt.Root,
		RunRoot:        e.opt.RunRoot,
		SystemdVersion: version,
		Mounts:         mounts,
		Devices:        deviceRules(c.Devices, nodes),
		Sockets:        socketNames(sockets),
		Names:          asksForNames(c),
	})
	return append([]unitgen.Unit{service}, sockets...), err
}

// deviceRules allows the nodes inside directories that --device names: systemd
// allows single nodes and groups of them only.
func deviceRules(devices []spec.Device, nodes map[string][]specs.LinuxDevice) []unitgen.DeviceAllow {
	var rules []unitgen.DeviceAllow
	for _, d := range devices {
		for _, n := range nodes[d.Host] {
			if n.Path != filepath.Clean(d.Host) {
				rules = append(rules, unitgen.DeviceAllow{Node: n.Path, Permissions: cmp.Or(d.Permissions, "rwm")})
			}
		}
	}
	return rules
}
