package engine

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// PruneFilter narrows what a prune removes. The zero value matches everything.
type PruneFilter struct {
	Until     time.Time // only what was made before; zero: no limit
	Labels    []string  // KEY or KEY=VALUE, all of which it must have
	NotLabels []string  // KEY or KEY=VALUE, none of which it may have
}

// match reports whether an object with these labels, made at the given time, is
// meant.
func (f PruneFilter) match(labels map[string]string, created time.Time) bool {
	if !f.Until.IsZero() && !created.Before(f.Until) {
		return false
	}
	return hasAllLabels(labels, f.Labels) && !slices.ContainsFunc(f.NotLabels, func(want string) bool { return HasLabel(labels, want) })
}

func hasAllLabels(labels map[string]string, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !HasLabel(labels, w) })
}

// namePatterns are alternatives; none at all matches every name.
type namePatterns []*regexp.Regexp

func compilePatterns(patterns []string) (namePatterns, error) {
	var out namePatterns
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, invalid("invalid filter 'name=%s': it is no regular expression", p)
		}
		out = append(out, re)
	}
	return out, nil
}

func (p namePatterns) match(name string) bool {
	return len(p) == 0 || slices.ContainsFunc(p, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// joinPairs writes a map as KEY=VALUE, sorted, for messages.
func joinPairs(m map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+m[k])
	}
	return strings.Join(words, " ")
}
