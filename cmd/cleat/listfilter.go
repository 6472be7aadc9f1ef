package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
)

// listFilter is the flag --filter of a command that lists or prunes: KEY=VALUE,
// any number of times. It implements pflag.Value.
type listFilter map[string][]string

// defineFilter defines --filter, with the letter short if that is not "".
func defineFilter(fs *pflag.FlagSet, short, usage string) listFilter {
	f := make(listFilter)
	fs.VarP(f, "filter", short, usage)
	return f
}

// Set implements pflag.Value.
func (f listFilter) Set(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("bad format of filter (expected name=value)")
	}
	key = strings.ToLower(strings.TrimSpace(key))
	f[key] = append(f[key], strings.TrimSpace(value))
	return nil
}

// String implements pflag.Value.
func (listFilter) String() string { return "" }

// Type implements pflag.Value.
func (listFilter) Type() string { return "filter" }

// check returns an error for a key that is not among those that are known.
func (f listFilter) check(known ...string) error {
	for key := range f {
		if !slices.Contains(known, key) {
			return fmt.Errorf("invalid filter '%s': the filters are %s", key, strings.Join(known, ", "))
		}
	}
	return nil
}

// truth reads a filter that is true or false; nil if it is not given.
func (f listFilter) truth(key string) (*bool, error) {
	var found *bool
	for _, v := range f[key] {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("invalid filter '%s=%s': it is true or false", key, v)
		}
		found = &b
	}
	return found, nil
}

// pruneFilter reads the filters that prunes have in common.
func (f listFilter) pruneFilter(now time.Time) (engine.PruneFilter, error) {
	p := engine.PruneFilter{Labels: f["label"], NotLabels: f["label!"]}
	if len(f["until"]) > 1 {
		return p, errors.New("invalid filter 'until': it can be given once")
	}
	for _, v := range f["until"] {
		until, err := logTime(v, now)
		if err != nil || until.IsZero() { // that would mean no limit
			return p, fmt.Errorf("invalid filter 'until=%s': it is a time in RFC 3339, seconds since 1970, or a duration such as 24h", v)
		}
		p.Until = until
	}
	return p, nil
}

// lines returns the filter as Docker's question for confirmation shows it.
func (f listFilter) lines() []string {
	var out []string
	for key, values := range f {
		for _, v := range values {
			out = append(out, key+"="+v)
		}
	}
	slices.Sort(out)
	return out
}
