package image

import (
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io" // an old name of docker.io that Docker still accepts
	officialPath  = "library/"
	defaultTag    = "latest"

	maxPath = 255 // bytes of a repository path, as in distribution/reference
	maxTag  = 128
)

// Reference names an image in a registry: domain, repository, and a tag or a
// digest or both. It is comparable. The zero Reference is not valid; the ones
// made by ParseReference always are.
//
// The grammar is that of github.com/distribution/reference, whose package-level
// regular expressions cost 2 ms at the start of every program that links it.
type Reference struct {
	domain string
	path   string
	tag    string
	digest Digest
}

// ParseReference reads a reference as Docker does: "nginx" is
// docker.io/library/nginx:latest. A reference with a digest gets no default tag.
// Sixty-four hex digits are an image id and no reference. The error wraps
// spec.ErrInvalid.
func ParseReference(s string) (Reference, error) {
	r, err := parseReference(s)
	if err != nil {
		return Reference{}, classify(spec.ErrInvalid, "invalid image reference %q: %v", clip(s), err)
	}
	return r, nil
}

func parseReference(s string) (Reference, error) {
	if len(s) == 64 && isHex(s) {
		return Reference{}, fmt.Errorf("64 hex digits are an image id, not a name")
	}
	var r Reference
	rest, dgst, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		d, err := ParseDigest(dgst)
		if err != nil {
			return Reference{}, err
		}
		r.digest = d
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		rest, r.tag = rest[:i], rest[i+1:]
		if err := checkTag(r.tag); err != nil {
			return Reference{}, err
		}
	}
	r.domain, r.path = splitDomain(rest)
	if r.tag == "" && !hasDigest {
		r.tag = defaultTag
	}
	if err := checkDomain(r.domain); err != nil {
		return Reference{}, err
	}
	return r, checkPath(r.path)
}

// IsRepository reports whether s is a reference with neither a tag nor a digest.
func IsRepository(s string) bool {
	_, err := parseReference(s + ":" + defaultTag)
	return err == nil && !strings.Contains(s, "@")
}

// splitDomain separates the registry from the repository: the first element is
// a registry if it looks like a host name, as Docker decides it.
func splitDomain(name string) (domain, path string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first {
		domain, path = defaultDomain, name
	} else {
		domain, path = first, rest
	}
	if domain == legacyDomain {
		domain = defaultDomain
	}
	if domain == defaultDomain && !strings.Contains(path, "/") {
		path = officialPath + path
	}
	return domain, path
}

// checkDomain accepts host[:port], where host is a DNS name, an IPv4 address or
// an IPv6 address in brackets.
func checkDomain(domain string) error {
	port, hasPort := "", false
	if v6, ok := strings.CutPrefix(domain, "["); ok {
		address, rest, closed := strings.Cut(v6, "]")
		if !closed || address == "" || !allIn(address, digits+"abcdefABCDEF:") {
			return fmt.Errorf("registry %q is not host[:port]", domain)
		}
		if port, hasPort = strings.CutPrefix(rest, ":"); !hasPort && rest != "" {
			return fmt.Errorf("registry %q is not host[:port]", domain)
		}
	} else {
		var host string
		host, port, hasPort = strings.Cut(domain, ":")
		for label := range strings.SplitSeq(host, ".") {
			if !isLabel(label) {
				return fmt.Errorf("registry %q is not host[:port]", domain)
			}
		}
	}
	if hasPort && (port == "" || len(port) > 5 || !allIn(port, digits)) {
		return fmt.Errorf("registry %q: port %q is not a number", domain, port)
	}
	return nil
}

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func isLabel(s string) bool {
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' && allIn(s, digits+lower+upper+"-")
}

func checkPath(path string) error {
	if path == "" || path == officialPath {
		return fmt.Errorf("repository name is empty")
	}
	if strings.ToLower(path) != path {
		return fmt.Errorf("repository name %q must be lowercase", path)
	}
	if len(path) > maxPath {
		return fmt.Errorf("repository name is longer than %d characters", maxPath)
	}
	for element := range strings.SplitSeq(path, "/") {
		if !isPathElement(element) {
			return fmt.Errorf("repository name %q: each part between slashes is letters and digits, separated by one of . _ __ or dashes", path)
		}
	}
	return nil
}

// isPathElement says whether s is alphanumeric runs joined by separators: one
// full stop, one or two underscores, or any number of dashes.
func isPathElement(s string) bool {
	alnum := false // whether the byte before is a letter or digit
	for i := 0; i < len(s); {
		if strings.IndexByte(digits+lower, s[i]) >= 0 {
			alnum = true
			i++
			continue
		}
		n := separator(s[i:])
		if n == 0 || !alnum {
			return false
		}
		alnum = false
		i += n
	}
	return alnum
}

// separator returns the length of the separator that s starts with, 0 if none.
func separator(s string) int {
	switch {
	case s[0] == '-':
		return len(s) - len(strings.TrimLeft(s, "-"))
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '.', s[0] == '_':
		return 1
	}
	return 0
}

func checkTag(tag string) error {
	if tag == "" {
		return fmt.Errorf("tag is empty")
	}
	if len(tag) > maxTag {
		return fmt.Errorf("tag is longer than %d characters", maxTag)
	}
	if tag[0] == '.' || tag[0] == '-' || !allIn(tag, digits+lower+upper+"_.-") {
		return fmt.Errorf("tag %q is not letters, digits, . _ and - (not starting with . or -)", tag)
	}
	return nil
}

func allIn(s, chars string) bool {
	for i := range len(s) {
		if strings.IndexByte(chars, s[i]) < 0 {
			return false
		}
	}
	return true
}

// IsZero reports whether r is the zero Reference, which names nothing.
func (r Reference) IsZero() bool { return r == Reference{} }

// Domain returns the registry, for example "docker.io" or "localhost:5000".
func (r Reference) Domain() string { return r.domain }

// Path returns the repository within the registry, for example "library/nginx".
func (r Reference) Path() string { return r.path }

// Tag returns the tag, "" if r names its image by digest alone.
func (r Reference) Tag() string { return r.tag }

// Digest returns the digest, "" if r has none.
func (r Reference) Digest() Digest { return r.digest }

// TagOrDigest returns what r names its image by: the digest if it has one, else
// the tag.
func (r Reference) TagOrDigest() string {
	if r.digest != "" {
		return string(r.digest)
	}
	return r.tag
}

// Repository returns domain and path, for example "docker.io/library/nginx".
func (r Reference) Repository() string { return r.domain + "/" + r.path }

// String returns the whole reference, for example
// "docker.io/library/nginx:latest". ParseReference of it gives r again.
func (r Reference) String() string { return r.Repository() + r.suffix() }

func (r Reference) suffix() string {
	s := ""
	if r.tag != "" {
		s = ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + string(r.digest)
	}
	return s
}

// Familiar returns the reference as people write it: without docker.io and
// library/, for example "nginx:latest". ParseReference of it gives r again.
func (r Reference) Familiar() string { return r.FamiliarRepository() + r.suffix() }

// FamiliarRepository returns the repository as people write it, for example "nginx".
func (r Reference) FamiliarRepository() string {
	if r.domain != defaultDomain {
		return r.Repository()
	}
	short := strings.TrimPrefix(r.path, officialPath)
	if strings.Contains(short, "/") {
		short = r.path
	}
	// docker.io/localhost/x and docker.io/library/<64 hex digits> have no shorter form.
	if domain, path := splitDomain(short); domain != r.domain || path != r.path || len(short) == 64 && isHex(short) {
		return r.Repository()
	}
	return short
}

// WithDigest returns r's repository with digest d and no tag.
func (r Reference) WithDigest(d Digest) Reference {
	r.tag, r.digest = "", d
	return r
}

// WithTag returns r's repository with the given tag and no digest. The error
// wraps spec.ErrInvalid.
func (r Reference) WithTag(tag string) (Reference, error) {
	if err := checkTag(tag); err != nil {
		return Reference{}, classify(spec.ErrInvalid, "invalid tag: %v", err)
	}
	r.tag, r.digest = tag, ""
	return r, nil
}

// MarshalText implements encoding.TextMarshaler with String.
func (r Reference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with ParseReference.
func (r *Reference) UnmarshalText(text []byte) (err error) {
	*r, err = ParseReference(string(text))
	return err
}
