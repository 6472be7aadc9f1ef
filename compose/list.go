package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// Listed is a project as "ls" shows it, with Docker's keys.
type Listed struct {
	Name        string
	Status      string // for example "exited(1), running(2)"
	ConfigFiles string
	Slice       string // the unit that its containers are in
}

// Projects lists the projects that some containers are of, sorted by name. Those
// of which nothing runs are listed only with all.
func Projects(list []engine.Container, all bool) (out []Listed) {
	byName := map[string][]engine.Container{}
	for _, c := range list {
		if !isOneOff(c) {
			byName[ProjectOf(c)] = append(byName[ProjectOf(c)], c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		counts := map[string]int{}
		up := false
		for _, c := range byName[name] {
			counts[string(c.Status)]++
			up = up || isUp(c)
		}
		if !up && !all {
			continue
		}
		var words []string
		for _, status := range slices.Sorted(maps.Keys(counts)) {
			words = append(words, fmt.Sprintf("%s(%d)", status, counts[status]))
		}
		out = append(out, Listed{name, strings.Join(words, ", "), FilesOf(byName[name][0]), SliceName(name)})
	}
	return out
}

// LabelOfProject returns the label that all objects of a project have, for
// filters.
func LabelOfProject(name string) string { return labelProject + "=" + name }

// IsOwnLabel reports whether a label is one by which projects are known.
func IsOwnLabel(key string) bool {
	return key == labelCleatSource || strings.HasPrefix(key, "com.docker.compose.")
}

// ServiceOfEvent returns the service of the container that an event is about.
func ServiceOfEvent(ev engine.Event) string { return ev.Attributes[labelService] }
