package spec

import "strings"

// maxMachineName is the longest name that systemd-machined takes: that of a host.
const maxMachineName = 64

// MachineName returns what systemd-machined calls the container of a service unit:
// like the unit, so that it is nobody else's name and, where names of machines are
// looked up as hosts (nss-mymachines(8)), hides no host's. A unit with characters
// that no host has gets the start of the container's id behind its own.
func MachineName(unit, id string) string {
	base := strings.TrimSuffix(unit, ".service")
	name := strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, base), "-")
	if name == base && len(name) <= maxMachineName {
		return name
	}
	suffix := "-" + ShortID(id)
	return name[:min(len(name), maxMachineName-len(suffix))] + suffix
}
