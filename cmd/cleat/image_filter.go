package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/engine"
)

// imageTest says whether an image is shown under one of its names.
type imageTest func(engine.Image, engine.Reference) bool

// imageFilter is what --filter and the argument of images ask for.
type imageFilter struct {
	tests         []imageTest
	patterns      []string // of which one has to fit, as in Docker
	before, since string   // images to compare the age with
}

// newImageFilter reads KEY=VALUE pairs, and at most one pattern.
func newImageFilter(pairs, patterns []string, now time.Time) (*imageFilter, error) {
	f := &imageFilter{patterns: patterns}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("invalid filter '%s': it has the form KEY=VALUE", pair)
		}
		if err := f.add(key, value, now); err != nil {
			return nil, err
		}
	}
	if len(f.patterns) > 0 {
		f.test(func(_ engine.Image, ref engine.Reference) bool {
			return slices.ContainsFunc(f.patterns, func(p string) bool { return matchReference(ref, p) })
		})
	}
	return f, nil
}

func (f *imageFilter) test(t imageTest) { f.tests = append(f.tests, t) }

func (f *imageFilter) add(key, value string, now time.Time) error {
	switch key {
	case "before":
		f.before = value
	case "since":
		f.since = value
	case "dangling":
		if value != "true" && value != "false" {
			return fmt.Errorf("invalid filter 'dangling=%s': it is true or false", value)
		}
		f.test(func(img engine.Image, _ engine.Reference) bool {
			return (len(img.References) == 0) == (value == "true")
		})
	case "label":
		f.test(func(img engine.Image, _ engine.Reference) bool { return hasLabel(img.Config.Labels, value) })
	case "reference":
		f.patterns = append(f.patterns, value)
	case "until":
		t, err := logTime(value, now)
		if err != nil {
			return fmt.Errorf("invalid filter 'until=%s': %w", value, err)
		}
		f.test(func(img engine.Image, _ engine.Reference) bool { return img.Created.Before(t) })
	default:
		return fmt.Errorf("invalid filter '%s': the filters are before, dangling, label, reference, since, until", key)
	}
	return nil
}

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
