package unitgen

import (
	"fmt"
	"path/filepath"
	"slices"
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
	for _, r := range c.DeviceRules {
		for _, d := range ruleNodes(r) {
			allow = permit(allow, d)
		}
	}
	return []Property{{"DeviceAllow", allow}, {"DevicePolicy", "closed"}}, nil
}

// permit adds d to the list. Of two lines for one node, systemd takes the last when
// they come over D-Bus, so there is one with the permissions of both.
func permit(allow []DeviceAllow, d DeviceAllow) []DeviceAllow {
	at := slices.IndexFunc(allow, func(other DeviceAllow) bool { return other.Node == d.Node })
	if at < 0 {
		return append(allow, d)
	}
	both := ""
	for _, letter := range "rwm" {
		if strings.ContainsRune(allow[at].Permissions+d.Permissions, letter) {
			both += string(letter)
		}
	}
	allow[at].Permissions = both
	return allow
}

// ruleNodes returns what systemd calls the devices of a rule: "char-*" is all of
// them, "char-4" those of one driver, and "/dev/char/4:64" needs no such node.
func ruleNodes(r spec.DeviceRule) []DeviceAllow {
	var out []DeviceAllow
	for _, class := range []struct{ letter, name string }{{"b", "block"}, {"c", "char"}} {
		if r.Type != class.letter && r.Type != "a" {
			continue
		}
		node := class.name + "-" + r.Major
		if r.Minor != "*" {
			node = "/dev/" + class.name + "/" + r.Major + ":" + r.Minor
		}
		out = append(out, DeviceAllow{node, r.Permissions})
	}
	return out
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
