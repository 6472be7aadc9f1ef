package profile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/cleat-project/cleat/spec"
)

// defaultCaps are what Docker gives every container.
func defaultCaps() []capability.Cap {
	return []capability.Cap{
		capability.CAP_CHOWN,
		capability.CAP_DAC_OVERRIDE,
		capability.CAP_FSETID,
		capability.CAP_FOWNER,
		capability.CAP_MKNOD,
		capability.CAP_NET_RAW,
		capability.CAP_SETGID,
		capability.CAP_SETUID,
		capability.CAP_SETFCAP,
		capability.CAP_SETPCAP,
		capability.CAP_NET_BIND_SERVICE,
		capability.CAP_SYS_CHROOT,
		capability.CAP_KILL,
		capability.CAP_AUDIT_WRITE,
	}
}

// capabilities returns the names of a container's capabilities, with "CAP_", in
// the order of their numbers. As in Docker, --cap-drop=ALL is done before any
// --cap-add, and --cap-add=ALL before any other --cap-drop. Ambient and
// inheritable sets stay empty (CVE-2022-24769).
func capabilities(s spec.Security, h Host) ([]string, error) {
	add, addAll, err := parseCaps(s.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := parseCaps(s.CapDrop)
	if err != nil {
		return nil, err
	}
	base := defaultCaps()
	switch {
	case s.Privileged:
		return capNames(slices.DeleteFunc(capability.ListKnown(), h.lacks)), nil
	case addAll:
		base, add = capability.ListKnown(), nil
	case dropAll:
		base = nil
	}
	if i := slices.IndexFunc(add, h.lacks); i >= 0 {
		return nil, fmt.Errorf("capability %s is not available on this machine: %w", capName(add[i]), spec.ErrUnsupport)
	}
	unwanted := func(c capability.Cap) bool { return slices.Contains(drop, c) || h.lacks(c) }
	return capNames(append(slices.DeleteFunc(base, unwanted), add...)), nil
}

// lacks reports whether the machine cannot give a capability.
func (h Host) lacks(c capability.Cap) bool {
	return h.Capabilities != nil && !slices.Contains(h.Capabilities, capName(c))
}

// parseCaps reads names in any case, with or without "CAP_".
func parseCaps(names []string) (caps []capability.Cap, all bool, err error) {
	for _, name := range names {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if short == "ALL" {
			all = true
			continue
		}
		i := slices.IndexFunc(capability.ListKnown(), func(c capability.Cap) bool { return capName(c) == "CAP_"+short })
		if i < 0 {
			return nil, false, fmt.Errorf("unknown capability %q: %w", name, spec.ErrInvalid)
		}
		caps = append(caps, capability.ListKnown()[i])
	}
	return caps, all, nil
}

func capName(c capability.Cap) string { return "CAP_" + strings.ToUpper(c.String()) }

// capNames returns the names of caps, each once.
func capNames(caps []capability.Cap) []string {
	caps = slices.Compact(slices.Sorted(slices.Values(caps)))
	names := make([]string, 0, len(caps))
	for _, c := range caps {
		names = append(names, capName(c))
	}
	return names
}
