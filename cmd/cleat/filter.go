package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// filters are the conditions of --filter: the values of one key are
// alternatives, except for labels, and all keys have to match.
type filters map[string][]string

// The keys of --filter that ps knows.
var filterKeys = []string{"ancestor", "before", "exited", "id", "label", "name", "network", "since", "status", "volume"}

// parseFilters reads KEY=VALUE pairs.
func parseFilters(pairs []string) (filters, error) {
	f := make(filters)
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("invalid argument %q for \"-f, --filter\" flag: invalid filter '%s': it has the form KEY=VALUE", pair, pair)
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if !slices.Contains(filterKeys, key) {
			return nil, fmt.Errorf("invalid filter '%s': the filters are %s", key, strings.Join(filterKeys, ", "))
		}
		if key == "status" {
			if err := checkStatus(value); err != nil {
				return nil, err
			}
		}
		if _, err := strconv.Atoi(value); key == "exited" && err != nil {
			return nil, fmt.Errorf("invalid filter 'exited=%s': it wants a number", value)
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

func checkStatus(s string) error {
	switch engine.Status(s) {
	case engine.StatusCreated, engine.StatusRunning, engine.StatusPaused, engine.StatusRestarting, engine.StatusExited, engine.StatusDead, "removing":
		return nil
	}
	return fmt.Errorf("invalid filter 'status=%s': the states are created, running, paused, restarting, removing, exited and dead", s)
}

// apply returns the containers of list that match, in its order. Without
// anyState, and without a filter that asks for a state, only what runs does.
func (f filters) apply(list []engine.Container, anyState bool) ([]engine.Container, error) {
	m, err := f.compile(list)
	if err != nil {
		return nil, err
	}
	anyState = anyState || len(f["status"]) > 0 || len(f["exited"]) > 0
	var out []engine.Container
	for _, ct := range list {
		up := ct.Status == engine.StatusRunning || ct.Status == engine.StatusPaused || ct.Status == engine.StatusRestarting
		if (anyState || up) && m.match(ct) {
			out = append(out, ct)
		}
	}
	return out, nil
}

// matcher is a set of filters made ready for many containers.
type matcher struct {
	filters
	names  []*regexp.Regexp
	before *engine.Container // only older ones match
	since  *engine.Container // only younger ones match
}

func (f filters) compile(list []engine.Container) (*matcher, error) {
	m := &matcher{filters: f}
	for _, pattern := range f["name"] {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("invalid filter 'name=%s': %w", pattern, err)
		}
		m.names = append(m.names, re)
	}
	var err error
	if m.before, err = reference(list, f["before"]); err != nil {
		return nil, err
	}
	m.since, err = reference(list, f["since"])
	return m, err
}

// reference finds the container that --filter before or since names.
func reference(list []engine.Container, refs []string) (*engine.Container, error) {
	if len(refs) == 0 {
		return nil, nil //nolint:nilnil // No such filter is no error.
	}
	ref := strings.TrimPrefix(refs[len(refs)-1], "/")
	for i, ct := range list {
		if ct.Name == ref || ref != "" && strings.HasPrefix(ct.ID, ref) {
			return &list[i], nil
		}
	}
	return nil, fmt.Errorf("no such container: %s: %w", ref, spec.ErrNotFound)
}

func (m *matcher) match(ct engine.Container) bool {
	one := func(key string, test func(string) bool) bool {
		return len(m.filters[key]) == 0 || slices.ContainsFunc(m.filters[key], test)
	}
	return one("id", func(v string) bool { return strings.HasPrefix(ct.ID, v) }) &&
		m.matchName(ct) &&
		!slices.ContainsFunc(m.filters["label"], func(v string) bool { return !hasLabel(ct.Labels, v) }) &&
		one("status", func(v string) bool { return string(ct.Status) == v }) &&
		one("exited", func(v string) bool { return hasExited(ct, v) }) &&
		one("ancestor", func(v string) bool { return fromImage(ct.Image, v) }) &&
		one("volume", func(v string) bool { return hasVolume(ct.Mounts, v) }) &&
		one("network", func(v string) bool { return ct.Network.Mode == v }) &&
		(m.before == nil || ct.Created.Before(m.before.Created)) &&
		(m.since == nil || ct.Created.After(m.since.Created))
}

// matchName matches a name also with the slash that Docker puts before it, so
// that "^/web$" means what it means there.
func (m *matcher) matchName(ct engine.Container) bool {
	return len(m.names) == 0 || slices.ContainsFunc(m.names, func(re *regexp.Regexp) bool {
		return re.MatchString(ct.Name) || re.MatchString("/"+ct.Name)
	})
}

// hasLabel matches KEY, or KEY=VALUE.
func hasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

func hasExited(ct engine.Container, code string) bool {
	ended := ct.Status == engine.StatusExited || ct.Status == engine.StatusDead
	return ended && strconv.Itoa(ct.Run.ExitCode) == code
}

// fromImage matches an image by id, by the beginning of it, or by reference.
func fromImage(img spec.Image, want string) bool {
	if want == "" {
		return false
	}
	hex := strings.TrimPrefix(img.ID, "sha256:")
	if short := strings.TrimPrefix(want, "sha256:"); len(short) >= 4 && strings.HasPrefix(hex, short) {
		return true
	}
	return img.Reference == want || familiar(img.Reference) == familiar(want)
}

// hasVolume matches the name of a volume, or a path on either side.
func hasVolume(mounts []spec.Mount, want string) bool {
	return slices.ContainsFunc(mounts, func(m spec.Mount) bool {
		return m.Source == want || m.Target == path.Clean(want)
	})
}
