package image

import (
	"runtime"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// ParsePlatform reads "os/architecture[/variant]" or an architecture alone, in
// Docker's spellings ("x86_64" and "aarch64" are understood). The error wraps
// spec.ErrInvalid, or spec.ErrUnsupport for a system other than Linux.
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) == 1 && parts[0] != "linux" {
		parts = []string{"linux", parts[0]}
	}
	for _, part := range parts {
		if part == "" || !allIn(part, digits+lower+"._-") {
			return Platform{}, classify(spec.ErrInvalid, "invalid platform %q: want os/architecture[/variant], for example linux/arm64", clip(s))
		}
	}
	if len(parts) > 3 {
		return Platform{}, classify(spec.ErrInvalid, "invalid platform %q: want os/architecture[/variant]", clip(s))
	}
	if parts[0] != "linux" {
		return Platform{}, classify(spec.ErrUnsupport, "platform %q is not supported: only linux images run here", clip(s))
	}
	p := Platform{OS: parts[0]}
	if len(parts) > 1 {
		p.Architecture = parts[1]
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	return p.OrDefault().normal(), nil
}

// String returns "os/architecture[/variant]".
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// OrDefault fills in what p leaves open: Linux on the processor of this program.
func (p Platform) OrDefault() Platform {
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return p
}

// normal returns p with one spelling for things that have several.
func (p Platform) normal() Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8", p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// Fits reports whether an image for platform other runs on p. An image that tells
// no variant fits, and every variant fits a p that tells none.
func (p Platform) Fits(other Platform) bool {
	n := other.normal()
	if n.OS != p.OS || n.Architecture != p.normal().Architecture {
		return false
	}
	variants := p.variants()
	return other.Variant == "" || slices.Contains(variants, n.Variant) || slices.Contains(variants, "*")
}

// Choose returns the manifest of an index that suits p best: the same variant,
// for 32-bit ARM else the next lower one, and any if p tells none. The error
// wraps spec.ErrNotFound.
func (p Platform) Choose(manifests []Descriptor) (Descriptor, error) {
	for _, variant := range p.variants() {
		for _, d := range manifests {
			if d.Platform == nil {
				continue
			}
			have := d.Platform.normal()
			if have.OS == p.OS && have.Architecture == p.normal().Architecture && (have.Variant == variant || variant == "*") {
				return d, nil
			}
		}
	}
	if len(manifests) == 1 && manifests[0].Platform == nil {
		return manifests[0], nil // the configuration will tell
	}
	return Descriptor{}, classify(spec.ErrNotFound, "no matching manifest for %s in the manifest list entries, which are for %s", p, platforms(manifests))
}

// variants returns the variants that run on p, the best first; "*" is any.
func (p Platform) variants() []string {
	n := p.normal()
	if n.Architecture == "arm" {
		arm := []string{"v8", "v7", "v6", "v5"}
		return append(arm[max(0, slices.Index(arm, n.Variant)):], "")
	}
	if n.Variant == "" {
		return []string{"", "*"}
	}
	return []string{n.Variant, ""}
}

// platforms lists what an index is for, without attestations.
func platforms(manifests []Descriptor) string {
	var list []string
	for _, d := range manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			list = append(list, clip(d.Platform.String()))
		}
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
