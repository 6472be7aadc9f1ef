// Package listing narrows and words lists as Docker does, for all front ends:
// the filters of containers and images, the times that they take, and the short
// texts that lists show.
package listing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Filters are Docker's conditions of a list or a prune, by key.
type Filters map[string][]string

// Check returns an error for a key that is not among those that are known.
func (f Filters) Check(known ...string) error {
	for key := range f {
		if !slices.Contains(known, key) {
			return invalid("invalid filter '%s': the filters are %s", key, strings.Join(known, ", "))
		}
	}
	return nil
}

// Truth reads a filter that is true or false; nil if it is not given.
func (f Filters) Truth(key string) (*bool, error) {
	var found *bool
	for _, v := range f[key] {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, invalid("invalid filter '%s=%s': it is true or false", key, v)
		}
		found = &b
	}
	return found, nil
}

// Prune reads the filters that prunes have in common. Times are relative to now.
func (f Filters) Prune(now time.Time) (engine.PruneFilter, error) {
	p := engine.PruneFilter{Labels: f["label"], NotLabels: f["label!"]}
	if len(f["until"]) > 1 {
		return p, invalid("invalid filter 'until': it can be given once")
	}
	for _, v := range f["until"] {
		until, err := Time(v, now)
		if err != nil || until.IsZero() { // that would mean no limit
			return p, invalid("invalid filter 'until=%s': it is a time in RFC 3339, seconds since 1970, or a duration such as 24h", v)
		}
		p.Until = until
	}
	return p, nil
}

// invalid returns an error of class spec.ErrInvalid that does not say so.
func invalid(format string, args ...any) error { return badInput(fmt.Sprintf(format, args...)) }

type badInput string

// Error implements error.
func (e badInput) Error() string { return string(e) }

// Unwrap returns the class.
func (badInput) Unwrap() error { return spec.ErrInvalid }
