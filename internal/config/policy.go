package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// PolicyPath is where the policy on images is read from unless the
// configuration says otherwise.
const PolicyPath = "/etc/cleat/policy.yaml"

// Action is what a policy does about an image.
type Action string

// The actions of a policy. Verify goes with a rule that names keys.
const (
	Accept Action = "accept"
	Reject Action = "reject"
	Verify Action = "verify"
)

// Policy says which images may be pulled and run. The file:
//
//	default: accept                          # or reject: for images that no rule is for
//	rules:
//	  - images: registry.example.com         # all of a registry,
//	    signed_by: [/etc/cleat/keys/ops.pub] # signed with one of these keys (PEM, ECDSA P-256, as cosign makes them)
//	  - images: registry.example.com/play/*  # or the repositories below a path,
//	    action: accept
//	  - images: docker.io/library/busybox    # or one repository
//	    action: reject
//
// Of several rules that fit the one with the longest pattern holds, wherever it
// stands. A relative path of a key starts at the file's directory.
type Policy struct {
	Default Action       `yaml:"default"`
	Rules   []PolicyRule `yaml:"rules"`

	Path string `yaml:"-"` // of the file; "" if there is none
}

// PolicyRule says what holds for some images.
type PolicyRule struct {
	Images   string   `yaml:"images"`
	Action   Action   `yaml:"action"`
	SignedBy []string `yaml:"signed_by"` // files with keys
}

// LoadPolicy reads the file at path. Without one everything is accepted, unless
// it is elsewhere than at PolicyPath: then somebody wants it to be there.
func LoadPolicy(path string) (Policy, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && path == PolicyPath {
		return Policy{Default: Accept}, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("read policy on images: %w", err)
	}
	p, err := ParsePolicy(data, filepath.Dir(path))
	if err != nil {
		return Policy{}, fmt.Errorf("policy %s: %w", path, err)
	}
	p.Path = path
	return p, nil
}

// ParsePolicy decodes a policy. Relative paths of keys start at dir.
func ParsePolicy(data []byte, dir string) (Policy, error) {
	p := Policy{Default: Accept}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil && !errors.Is(err, io.EOF) { // io.EOF: empty, or comments only
		return Policy{}, plain(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Policy{}, errors.New("more than one YAML document")
	}
	if p.Default != Accept && p.Default != Reject {
		return Policy{}, fmt.Errorf("default is %q, want %s or %s", p.Default, Accept, Reject)
	}
	lines := ruleLines(data)
	known := map[string]bool{}
	for i := range p.Rules {
		r := &p.Rules[i]
		err := r.settle(dir)
		if err == nil && known[r.Images] {
			err = fmt.Errorf("there are two rules for %s", r.Images)
		}
		if err != nil {
			return Policy{}, fmt.Errorf("line %d: %w", lines[i], err)
		}
		known[r.Images] = true
	}
	return p, nil
}

// ruleLines returns the line of each rule.
func ruleLines(data []byte) []int {
	var doc struct{ Rules []yaml.Node }
	_ = yaml.Unmarshal(data, &doc) // it was decoded before
	lines := make([]int, 0, len(doc.Rules))
	for _, n := range doc.Rules {
		lines = append(lines, n.Line)
	}
	return lines
}

// settle checks a rule and fills in what it implies.
func (r *PolicyRule) settle(dir string) error {
	if err := checkPattern(r.Images); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	switch {
	case len(r.SignedBy) > 0 && r.Action != "" && r.Action != Verify:
		return fmt.Errorf("rule for %s has signed_by and the action %q: want one of them", r.Images, r.Action)
	case len(r.SignedBy) > 0:
		r.Action = Verify
	case r.Action == Verify:
		return fmt.Errorf("rule for %s names no keys: add signed_by", r.Images)
	case r.Action == "":
		return fmt.Errorf("rule for %s says nothing: want signed_by, or action: %s or %s", r.Images, Accept, Reject)
	case r.Action != Accept && r.Action != Reject:
		return fmt.Errorf("rule for %s: action is %q, want %s or %s", r.Images, r.Action, Accept, Reject)
	}
	for i, key := range r.SignedBy {
		if key == "" {
			return fmt.Errorf("rule for %s: a path below signed_by is empty", r.Images)
		}
		if !filepath.IsAbs(key) {
			r.SignedBy[i] = filepath.Join(dir, key)
		}
	}
	return nil
}

// checkPattern refuses patterns that would fit nothing, or not what they seem to.
func checkPattern(s string) error {
	host, path, hasPath := strings.Cut(s, "/")
	if s == "" {
		return errors.New("is missing: want a registry or a repository")
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return fmt.Errorf("%q does not begin with a registry, as in docker.io/library/nginx", s)
	}
	if err := checkHost(host); err != nil {
		return err
	}
	if host == "index.docker.io" {
		return fmt.Errorf("%q: that registry is called docker.io", s)
	}
	if !hasPath {
		return nil
	}
	fixed := strings.TrimSuffix(path, "*")
	if path != fixed && fixed != "" && !strings.HasSuffix(fixed, "/") {
		return fmt.Errorf("%q: a * stands for whole names, as in %s/team/*", s, host)
	}
	if strings.ContainsAny(fixed, "*?@:[ ") || strings.Contains(fixed, "//") || strings.ToLower(fixed) != fixed || path == "" || path == fixed && strings.HasSuffix(fixed, "/") {
		return fmt.Errorf("%q is neither a repository (without tag and digest, in lower case) nor a path that ends in /*", s)
	}
	if host == "docker.io" && path == fixed && !strings.Contains(path, "/") {
		return fmt.Errorf("%q: the whole name of that repository is docker.io/library/%s", s, path)
	}
	return nil
}

// fits reports whether the rule is for the repository, which is a whole name such
// as docker.io/library/nginx.
func (r PolicyRule) fits(repository string) bool {
	prefix, isPrefix := strings.CutSuffix(r.Images, "*")
	if !isPrefix && !strings.Contains(r.Images, "/") { // a registry
		prefix, isPrefix = r.Images+"/", true
	}
	if isPrefix {
		return strings.HasPrefix(repository, prefix)
	}
	return repository == r.Images
}

// For returns the rule that holds for a repository. It has an empty Images if
// that is the default.
func (p Policy) For(repository string) PolicyRule {
	best := PolicyRule{Action: p.Default}
	for _, r := range p.Rules {
		if r.fits(repository) && len(strings.TrimSuffix(r.Images, "*")) >= len(strings.TrimSuffix(best.Images, "*")) {
			best = r
		}
	}
	return best
}
