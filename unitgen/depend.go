package unitgen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// suffixes are the types of units that something can depend on.
var suffixes = []string{".service", ".socket", ".target", ".device", ".mount", ".automount", ".swap", ".path", ".timer", ".slice", ".scope"}

// CheckDependency returns spec.ErrInvalid unless name is the whole name of a
// unit, see systemd.unit(5). What it accepts means the same in a property and in
// a unit file.
func CheckDependency(name string) error {
	outside := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune(`:-_.\@`, r)
	}
	prefix, suffix := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		prefix, suffix = name[:dot], name[dot:]
	}
	switch {
	case len(name) > maxUnitName || strings.ContainsFunc(name, outside):
		return fmt.Errorf("unit %q is not a name that systemd accepts: %w", name, spec.ErrInvalid)
	case !slices.Contains(suffixes, suffix):
		return fmt.Errorf("unit %q has no type: write the whole name, for example %q: %w", name, or(name, "postgresql")+".service", spec.ErrInvalid)
	case prefix == "" || strings.HasPrefix(prefix, "@"):
		return fmt.Errorf("unit %q has no name before its type: %w", name, spec.ErrInvalid)
	case strings.HasSuffix(prefix, "@"):
		return fmt.Errorf("unit %q is a template: name one of its instances, for example %q: %w", name, prefix+"main"+suffix, spec.ErrInvalid)
	}
	return nil
}

// dependOn returns the units that container c was tied to by its user: those it
// requires, and those it is ordered after, which are the same and more.
func dependOn(c spec.Container) (required, after []string, err error) {
	for _, name := range slices.Concat(c.Requires, c.After) {
		if err := CheckDependency(name); err != nil {
			return nil, nil, err
		}
		if name == c.UnitName() {
			return nil, nil, fmt.Errorf("container %q cannot depend on itself: %w", c.Name, spec.ErrInvalid)
		}
	}
	return c.Requires, slices.Concat(c.Requires, c.After), nil
}
