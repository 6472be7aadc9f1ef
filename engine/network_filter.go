package engine

import (
	"regexp"
	"slices"
	"strconv"
)

// networkFilter returns the test for the filters of a list of networks. The
// values of one key are alternatives, except for labels, and all keys have to
// match, as in Docker.
func (e *Engine) networkFilter(filters map[string][]string) (func(NetworkInspect) bool, error) {
	var tests []func(NetworkInspect) bool
	for _, key := range sortedKeys(filters) {
		test, err := e.networkTest(key, filters[key])
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(n NetworkInspect) bool {
		return !slices.ContainsFunc(tests, func(test func(NetworkInspect) bool) bool { return !test(n) })
	}, nil
}

func (e *Engine) networkTest(key string, values []string) (func(NetworkInspect) bool, error) {
	switch key {
	case "driver":
		return func(n NetworkInspect) bool { return slices.Contains(values, n.Driver) }, nil
	case "scope":
		return func(n NetworkInspect) bool { return slices.Contains(values, n.Scope) }, nil
	case "label":
		return func(n NetworkInspect) bool { return hasAllLabels(n.Labels, values) }, nil
	case "id":
		return matchPatterns(key, values, func(n NetworkInspect) string { return n.ID })
	case "name":
		return matchPatterns(key, values, func(n NetworkInspect) string { return n.Name })
	case "type":
		return typeTest(values)
	case "dangling":
		return e.danglingTest(values)
	}
	return nil, invalid("invalid filter '%s': the filters are dangling, driver, id, label, name, scope and type", key)
}

// matchPatterns matches regular expressions, which is what Docker takes names
// and ids for.
func matchPatterns(key string, patterns []string, of func(NetworkInspect) string) (func(NetworkInspect) bool, error) {
	var res []*regexp.Regexp
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, invalid("invalid filter '%s=%s': not a regular expression", key, p)
		}
		res = append(res, re)
	}
	return func(n NetworkInspect) bool {
		return slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(of(n)) })
	}, nil
}

func typeTest(values []string) (func(NetworkInspect) bool, error) {
	for _, v := range values {
		if v != "builtin" && v != "custom" {
			return nil, invalid("invalid filter 'type=%s': it is builtin or custom", v)
		}
	}
	return func(n NetworkInspect) bool {
		return slices.Contains(values, map[bool]string{true: "builtin", false: "custom"}[isPredefined(n.Name)])
	}, nil
}

// danglingTest picks networks that no container is on, or those that are of use.
// The predefined ones always are.
func (e *Engine) danglingTest(values []string) (func(NetworkInspect) bool, error) {
	if len(values) != 1 {
		return nil, invalid("invalid filter 'dangling': it is given once")
	}
	want, err := strconv.ParseBool(values[0])
	if err != nil {
		return nil, invalid("invalid filter 'dangling=%s': it is true or false", values[0])
	}
	used, err := e.networksInUse()
	if err != nil {
		return nil, err
	}
	return func(n NetworkInspect) bool {
		return want == (!isPredefined(n.Name) && !used[n.ID])
	}, nil
}

// networksInUse returns the ids of the networks that containers are on, be they
// running or not.
func (e *Engine) networksInUse() (map[string]bool, error) {
	ids, err := e.state.IDs()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range ids {
		c, err := e.state.Load(id)
		if isNotFound(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, ep := range c.Network.Endpoints {
			used[ep.NetworkID] = true
		}
	}
	lives, err := e.wires().Lives().All()
	if err != nil {
		return nil, err
	}
	for _, l := range lives {
		for _, ep := range l.Endpoints {
			used[ep.NetworkID] = used[ep.NetworkID] || l.Running()
		}
	}
	return used, nil
}
