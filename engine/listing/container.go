package listing

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

// ContainerFilter is a checked set of conditions on containers: the values of one
// key are alternatives, except for labels, and all keys have to match.
type ContainerFilter struct {
	values Filters
	isTask *bool
	ports  []portFilter
}

// ContainerKeys are the keys of filters that lists of containers know. Docker's
// isolation tells something on Windows alone, and is ignored elsewhere.
var ContainerKeys = []string{
	"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume",
}

// The states of a health check.
var healthStates = []string{"starting", "healthy", "unhealthy", "none"}

// NewContainerFilter checks the values of l.
func NewContainerFilter(l Filters) (ContainerFilter, error) {
	f := ContainerFilter{values: l}
	err := l.Check(ContainerKeys...)
	if err != nil {
		return f, err
	}
	for _, v := range l["status"] {
		if err := checkStatus(v); err != nil {
			return f, err
		}
	}
	for _, v := range l["exited"] {
		if _, err := strconv.Atoi(v); err != nil {
			return f, invalid("invalid filter 'exited=%s': it wants a number", v)
		}
	}
	for _, v := range l["health"] {
		if !slices.Contains(healthStates, v) {
			return f, invalid("invalid filter 'health=%s': the states are %s", v, strings.Join(healthStates, ", "))
		}
	}
	for _, key := range []string{"expose", "publish"} {
		for _, v := range l[key] {
			p, err := parsePortFilter(key, v)
			if err != nil {
				return f, err
			}
			f.ports = append(f.ports, p)
		}
	}
	f.isTask, err = l.Truth("is-task")
	return f, err
}

func checkStatus(s string) error {
	switch engine.Status(s) {
	case engine.StatusCreated, engine.StatusRunning, engine.StatusPaused, engine.StatusRestarting, engine.StatusExited, engine.StatusDead, engine.StatusSleeping, "removing":
		return nil
	}
	return invalid("invalid filter 'status=%s': the states are created, running, paused, restarting, removing, sleeping, exited and dead", s)
}

// Apply returns the containers of list that match, in its order. Without
// anyState, and without a filter that asks for a state, only what runs does.
func (f ContainerFilter) Apply(list []engine.Container, anyState bool) ([]engine.Container, error) {
	m, err := f.compile(list)
	if err != nil {
		return nil, err
	}
	anyState = anyState || len(f.values["status"]) > 0 || len(f.values["exited"]) > 0
	var out []engine.Container
	for _, ct := range list {
		up := ct.Status == engine.StatusRunning || ct.Status == engine.StatusPaused || ct.Status == engine.StatusRestarting || ct.Status == engine.StatusSleeping
		if (anyState || up) && m.match(ct) {
			out = append(out, ct)
		}
	}
	return out, nil
}

// matcher is a set of filters made ready for many containers.
type matcher struct {
	ContainerFilter
	names  []*regexp.Regexp
	before *engine.Container // only older ones match
	since  *engine.Container // only younger ones match
}

func (f ContainerFilter) compile(list []engine.Container) (*matcher, error) {
	m := &matcher{ContainerFilter: f}
	for _, pattern := range f.values["name"] {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, invalid("invalid filter 'name=%s': %v", pattern, err)
		}
		m.names = append(m.names, re)
	}
	var err error
	if m.before, err = reference(list, f.values["before"]); err != nil {
		return nil, err
	}
	m.since, err = reference(list, f.values["since"])
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
		return len(m.values[key]) == 0 || slices.ContainsFunc(m.values[key], test)
	}
	return one("id", func(v string) bool { return strings.HasPrefix(ct.ID, v) }) &&
		m.matchName(ct) &&
		!slices.ContainsFunc(m.values["label"], func(v string) bool { return !engine.HasLabel(ct.Labels, v) }) &&
		one("status", func(v string) bool { return string(ct.Status) == v }) &&
		one("exited", func(v string) bool { return hasExited(ct, v) }) &&
		one("ancestor", func(v string) bool { return fromImage(ct.Image, v) }) &&
		one("volume", func(v string) bool { return hasVolume(ct.Mounts, v) }) &&
		one("network", func(v string) bool { return onNetwork(ct.Network, v) }) &&
		one("health", func(v string) bool { return v == healthOf(ct) }) &&
		(m.isTask == nil || !*m.isTask) && // there is no Swarm
		(len(m.ports) == 0 || slices.ContainsFunc(m.ports, func(p portFilter) bool { return p.match(ct) })) &&
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
	return img.Reference == want || Familiar(img.Reference) == Familiar(want)
}

// onNetwork matches the name of a network, the beginning of its id, or "host" and
// "none".
func onNetwork(n spec.Network, want string) bool {
	if NetworkText(spec.Network{Mode: n.Mode}) == want && want != "" {
		return true
	}
	return slices.ContainsFunc(n.Endpoints, func(ep spec.Endpoint) bool {
		return ep.Network == want || want != "" && strings.HasPrefix(ep.NetworkID, want)
	})
}

// healthOf is the state of a container's health check in the words of --filter.
func healthOf(ct engine.Container) string {
	if ct.Health == nil {
		return "none"
	}
	return string(ct.Health.Status)
}

// portFilter is a value of --filter publish or expose: PORT[-PORT][/PROTOCOL].
type portFilter struct {
	host        bool // a port of the host (publish), not one of the container (expose)
	first, last uint16
	proto       spec.Proto
}

func parsePortFilter(key, value string) (portFilter, error) {
	bad := invalid("invalid filter '%s=%s': it has the form PORT[-PORT][/PROTOCOL]", key, value)
	ports, proto, ok := strings.Cut(value, "/")
	if !ok {
		proto = "tcp"
	}
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return portFilter{}, bad
	}
	last, err := strconv.ParseUint(high, 10, 16)
	if err != nil || last < first || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
		return portFilter{}, bad
	}
	return portFilter{key == "publish", uint16(first), uint16(last), spec.Proto(proto)}, nil
}

// match looks at what was asked for. As in Docker, a container that does not run
// publishes and exposes nothing.
func (p portFilter) match(ct engine.Container) bool {
	if ct.Status != engine.StatusRunning && ct.Status != engine.StatusPaused {
		return false
	}
	return slices.ContainsFunc(ct.Ports, func(port spec.Port) bool {
		n := port.ContainerPort
		if p.host {
			n = port.HostPort
		}
		return port.Proto == p.proto && n != 0 && p.first <= n && n <= p.last
	})
}

// hasVolume matches the name of a volume, or a path on either side.
func hasVolume(mounts []spec.Mount, want string) bool {
	return slices.ContainsFunc(mounts, func(m spec.Mount) bool {
		return m.Source == want || m.Target == path.Clean(want)
	})
}
