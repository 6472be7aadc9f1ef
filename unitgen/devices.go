package unitgen

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// devices maps what the container may open. A device filter that the runtime
// loaded itself would be lost at the next daemon-reload, so systemd has to know.
//
// DevicePolicy=closed brings null, zero, full, random, urandom, tty, ptmx and
// the pseudo terminals. As in Docker, any node may be made (CAP_MKNOD) but not
// opened. Privileged containers may open everything, and own their part of the
// cgroup tree: systemd keeps away from it with Delegate=.
func devices(c spec.Container, in ServiceInput) ([]Property, error) {
	if c.Security.Privileged {
		return []Property{{"Delegate", true}, {"DevicePolicy", "auto"}}, nil
	}
	allow := []DeviceAllow{{"block-*", "m"}, {"char-*", "m"}}
	for _, d := range c.Devices {
		allow = append(allow, DeviceAllow{filepath.Clean(d.Host), or(d.Permissions, "rwm")})
	}
	allow = append(allow, in.Devices...)
	for _, d := range allow[2:] {
		if err := checkNode(d.Node); err != nil {
			return nil, err
		}
		if strings.Trim(d.Permissions, "rwm") != "" || d.Permissions == "" {
			return nil, fmt.Errorf("device %s: permissions %q are not some of rwm: %w", d.Node, d.Permissions, spec.ErrInvalid)
		}
	}
	return []Property{{"DeviceAllow", allow}, {"DevicePolicy", "closed"}}, nil
}

// checkNode accepts the device paths that systemd takes. It has no escapes for
// special characters there.
func checkNode(path string) error {
	special := func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"'\$%;#`, r)
	}
	if !strings.HasPrefix(path, "/dev/") || filepath.Clean(path) != path || strings.ContainsFunc(path, special) {
		return fmt.Errorf("device %q is not a plain path below /dev: %w", path, spec.ErrInvalid)
	}
	return nil
}
