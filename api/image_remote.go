package api

import (
	"strconv"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// searchFilter returns the test that the filters of a search ask for.
func searchFilter(values listing.Filters) (func(engine.SearchResult) bool, error) {
	if err := values.Check("is-automated", "is-official", "stars"); err != nil {
		return nil, err
	}
	official, err := values.Truth("is-official")
	if err != nil {
		return nil, err
	}
	automated, err := values.Truth("is-automated")
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, v := range values["stars"] {
		if stars, err = strconv.Atoi(v); err != nil {
			return nil, invalid("invalid filter 'stars=%s': it wants a number", v)
		}
	}
	return func(r engine.SearchResult) bool {
		return r.StarCount >= stars && (official == nil || r.IsOfficial == *official) && (automated == nil || r.IsAutomated == *automated)
	}, nil
}

// distributionAnswer is what a registry has under a name.
type distributionAnswer struct {
	Descriptor any
	Platforms  []any
}

// newDistribution turns a manifest, or an index of some, into Docker's form.
func newDistribution(m engine.RemoteManifest) distributionAnswer {
	parts := m.Parts
	if len(parts) == 0 {
		parts = []engine.RemoteManifest{m}
	}
	out := distributionAnswer{Platforms: []any{}}
	for _, part := range parts {
		if p := part.Descriptor.Platform; p != nil {
			out.Platforms = append(out.Platforms, p)
		}
	}
	d := m.Descriptor
	d.Platform = nil
	out.Descriptor = d
	return out
}
