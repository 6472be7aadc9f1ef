package listing

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func TestMistakesInFiltersAreTheUsers(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	tests := map[string]func() error{
		"unknown key":   func() error { return Filters{"colour": {"red"}}.Check("name") },
		"no truth":      func() error { _, err := Filters{"dangling": {"maybe"}}.Truth("dangling"); return err },
		"no time":       func() error { _, err := Filters{"until": {"tomorrow"}}.Prune(now); return err },
		"no limit":      func() error { _, err := Filters{"until": {"0"}}.Prune(now); return err },
		"twice":         func() error { _, err := Filters{"until": {"1h", "2h"}}.Prune(now); return err },
		"no state":      func() error { _, err := NewContainerFilter(Filters{"status": {"lost"}}); return err },
		"no exit code":  func() error { _, err := NewContainerFilter(Filters{"exited": {"x"}}); return err },
		"no image time": func() error { _, err := NewImageFilter(Filters{"until": {"x"}}, nil, now); return err },
	}
	for name, f := range tests {
		if err := f(); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: error is %v, want one of class invalid", name, err)
		}
	}
}

func TestContainerFilter(t *testing.T) {
	c := func(name string, status engine.Status) engine.Container {
		return engine.Container{Container: spec.Container{ID: name + "0", Name: name}, Status: status}
	}
	list := []engine.Container{c("up", engine.StatusRunning), c("down", engine.StatusExited), c("ice", engine.StatusPaused)}
	tests := map[string]struct {
		filters Filters
		all     bool
		want    []string
	}{
		"what runs":           {want: []string{"up", "ice"}},
		"all":                 {all: true, want: []string{"up", "down", "ice"}},
		"a state asks itself": {filters: Filters{"status": {"exited"}}, want: []string{"down"}},
		"name":                {filters: Filters{"name": {"^/up$"}}, want: []string{"up"}},
	}
	for name, tt := range tests {
		f, err := NewContainerFilter(tt.filters)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Apply(list, tt.all)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, ct := range got {
			names = append(names, ct.Name)
		}
		if diff := cmp.Diff(tt.want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
