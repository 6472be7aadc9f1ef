package profile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/spec"
)

// devices returns the nodes to make beyond those that every container has: all
// of the host for privileged containers, and those that the user named.
func devices(c spec.Container, in Input) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	if c.Security.Privileged {
		out = slices.Clone(in.HostDevices)
	}
	for _, d := range c.Devices {
		nodes := in.Devices[d.Host]
		if len(nodes) == 0 {
			return nil, fmt.Errorf("device %s: not a device node of this machine: %w", d.Host, spec.ErrInvalid)
		}
		if strings.Trim(d.Permissions, "rwm") != "" {
			return nil, fmt.Errorf("device %s: permissions %q are not some of rwm: %w", d.Host, d.Permissions, spec.ErrInvalid)
		}
		target := d.Container
		if target == "" {
			target = d.Host
		}
		if !filepath.IsAbs(target) {
			return nil, fmt.Errorf("device %s: target %q is not an absolute path: %w", d.Host, target, spec.ErrInvalid)
		}
		for _, n := range nodes {
			n.Path = filepath.Join(target, strings.TrimPrefix(n.Path, filepath.Clean(d.Host)))
			out = slices.DeleteFunc(out, func(o specs.LinuxDevice) bool { return o.Path == n.Path })
			out = append(out, n)
		}
	}
	return out, nil
}
