package listing

import (
	"context"
	"path"
	"slices"
	"time"

	"github.com/cleat-project/cleat/engine"
)

// ImageTest says whether an image is shown under one of its names.
type ImageTest func(engine.Image, engine.Reference) bool

// ImageFilter is a checked set of conditions on images, which all have to match.
type ImageFilter struct {
	tests         []ImageTest
	before, since string // images to compare the age with
}

// NewImageFilter reads the filters and further patterns of names. Times are
// relative to now.
func NewImageFilter(filter Filters, patterns []string, now time.Time) (*ImageFilter, error) {
	if err := filter.Check("before", "dangling", "label", "reference", "since", "until"); err != nil {
		return nil, err
	}
	f := &ImageFilter{before: last(filter["before"]), since: last(filter["since"])}
	dangling, err := filter.Truth("dangling")
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
		t, err := Time(v, now)
		if err != nil {
			return nil, invalid("invalid filter 'until=%s': %v", v, err)
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

func (f *ImageFilter) test(t ImageTest) { f.tests = append(f.tests, t) }

// Compile looks up the images that others are compared with.
func (f *ImageFilter) Compile(ctx context.Context, eng imageFinder) (ImageTest, error) {
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

type imageFinder interface {
	Image(ctx context.Context, ref string) (engine.Image, error)
}
