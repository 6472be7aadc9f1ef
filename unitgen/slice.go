package unitgen

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Slice returns a slice unit below cleat.slice, with the limits of everything in
// it together.
func Slice(name, description string, l spec.Limits) (Unit, error) {
	if name == "" {
		return Unit{}, fmt.Errorf("slice without a name: %w", spec.ErrInvalid)
	}
	if err := checkSlice(name); err != nil {
		return Unit{}, err
	}
	props, err := limits(spec.Container{Limits: l}, ServiceInput{})
	if err != nil {
		return Unit{}, fmt.Errorf("unit %s: %w", name, err)
	}
	u := Unit{Name: name, Properties: append(props,
		Property{"Description", printable(description)},
		Property{"Documentation", []string{"man:cleat(1)"}},
	)}
	// A slice has no processes of its own.
	u.Properties = slices.DeleteFunc(u.Properties, func(p Property) bool { return p.Name == "OOMScoreAdjust" })
	sortProperties(u.Properties)
	return u, nil
}

// SliceGroup returns the path of a slice below the root of the control groups:
// every dash in its name is a level. "" means cleat.slice.
func SliceGroup(name string) string {
	const suffix = ".slice"
	stem := strings.TrimSuffix(or(name, DefaultSlice), suffix)
	dir := ""
	for i, r := range stem {
		if r == '-' {
			dir = path.Join(dir, stem[:i]+suffix)
		}
	}
	return path.Join(dir, stem+suffix)
}

// checkSlice accepts "" and the names of slices below cleat.slice.
func checkSlice(name string) error {
	if name == "" || name == DefaultSlice {
		return nil
	}
	stem, isSlice := strings.CutSuffix(name, ".slice")
	rest, ours := strings.CutPrefix(stem, "cleat-")
	outside := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune("_.-", r)
	}
	if !isSlice || !ours || rest == "" || len(name) > maxName || strings.ContainsFunc(rest, outside) ||
		strings.HasPrefix(rest, "-") || strings.HasSuffix(rest, "-") || strings.Contains(rest, "--") {
		return fmt.Errorf("slice %q: must be cleat-NAME.slice with letters, digits and _.- in NAME: %w", name, spec.ErrInvalid)
	}
	return nil
}
