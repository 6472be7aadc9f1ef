package image

import (
	"slices"
	"strings"
)

// Names returns the names with a tag that images have, sorted, without reading the
// images.
func (s *Store) Names() ([]Reference, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	all, err := x.all()
	if err != nil {
		return nil, err
	}
	var names []Reference
	for _, e := range all {
		if ref := e.ref(); ref.Tag() != "" {
			names = append(names, ref)
		}
	}
	slices.SortFunc(names, func(a, b Reference) int { return strings.Compare(a.String(), b.String()) })
	return names, nil
}
