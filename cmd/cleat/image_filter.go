package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/cleat-project/cleat/engine"
)

// imageTest says whether an image is shown under one of its names.
type imageTest func(engine.Image, engine.Reference) bool

// imageFilter is what --filter and the argument of images ask for.
type imageFilter struct {
	tests         []imageTest
	before, since string // images to compare the age with
}

// newImageFilter reads the filters, and at most one pattern.
func newImageFilter(filter listFilter, patterns []string, now time.Time) (*imageFilter, error) {
	if err := filter.check("before", "dangling", "label", "reference", "since", "until"); err != nil {
		return nil, err
	}
	f := &imageFilter{before: last(filter["before"]), since: last(filter["since"])}
	dangling, err := filter.truth("dangling")
	if err != nil {
		return nil, err
	}
	if dangling != nil {
		f.test(func(img engine.Image, _ engine.Reference) bool { return (len(img.References) == 0) == *dangling })
	}
	for _, want := range filter["label"] {
		f.test(func(img engine.Image, _ engine.Reference) bool { return engine.HasLabel(img.Config.Labels, want) })
	}
	for _, v := range filter["until"] {
		t, err := logTime(v, now)
		if err != nil {
			return nil, fmt.Errorf("invalid filter 'until=%s': %w", v, err)
		}
		f.test(func(img engine.Image, _ engine.Reference) bool { return img.Created.Before(t) })
	}
	patterns = slices.Concat(patterns, filter["reference"]) // one of them has to fit, as in Docker
	if len(patterns) > 0 {
		f.test(func(_ engine.Image, ref engine.Reference) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return matchReference(ref, p) })
		})
	}
	return f, nil
}

// last returns the last of the values of a filter that can have one only.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func (f *imageFilter) test(t imageTest) { f.tests = append(f.tests, t) }

// compile looks up the images that others are compared with.
func (f *imageFilter) compile(ctx context.Context, eng imageFinder) (imageTest, error) {
	tests := f.tests
	compare := func(name string, fits func(other, img engine.Image) bool) error {
		if name == "" {
			return nil
		}
		other, err := eng.Image(ctx, name)
		if err == nil {
			tests = append(tests, func(img engine.Image, _ engine.Reference) bool { return fits(other, img) })
		}
		return err
	}
	if err := compare(f.before, func(other, img engine.Image) bool { return img.Created.Before(other.Created) }); err != nil {
		return nil, err
	}
	if err := compare(f.since, func(other, img engine.Image) bool { return img.Created.After(other.Created) }); err != nil {
		return nil, err
	}
	return func(img engine.Image, ref engine.Reference) bool {
		for _, test := range tests {
			if !test(img, ref) {
				return false
			}
		}
		return true
	}, nil
}

// matchReference matches a shell pattern against a name with and without its
// tag, in its short and in its long form.
func matchReference(ref engine.Reference, pattern string) bool {
	if ref.IsZero() {
		return false
	}
	for _, name := range []string{ref.Familiar(), ref.FamiliarRepository(), ref.String(), ref.Repository()} {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}
