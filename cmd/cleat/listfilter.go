package main

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
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

func (f listFilter) check(known ...string) error { return listing.Filters(f).Check(known...) }

func (f listFilter) truth(key string) (*bool, error) { return listing.Filters(f).Truth(key) }

func (f listFilter) pruneFilter(now time.Time) (engine.PruneFilter, error) {
	return listing.Filters(f).Prune(now)
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
