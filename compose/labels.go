package compose

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// Docker's labels, by which its tools know what belongs to a project.
const (
	labelProject     = "com.docker.compose.project"
	labelService     = "com.docker.compose.service"
	labelNumber      = "com.docker.compose.container-number"
	labelOneOff      = "com.docker.compose.oneoff"
	labelHash        = "com.docker.compose.config-hash"
	labelFiles       = "com.docker.compose.project.config_files"
	labelDir         = "com.docker.compose.project.working_dir"
	labelEnvFiles    = "com.docker.compose.project.environment_file"
	labelDependsOn   = "com.docker.compose.depends_on"
	labelImage       = "com.docker.compose.image"
	labelVersion     = "com.docker.compose.version"
	labelReplace     = "com.docker.compose.replace"
	labelNetwork     = "com.docker.compose.network"
	labelVolume      = "com.docker.compose.volume"
	labelSlug        = "com.docker.compose.slug"
	labelCleatSource = "org.cleat.compose.hash" // of what the engine was asked for
)

// specVersion is the version of Docker's compose whose labels these are.
const specVersion = "2.40.0"

// serviceOf returns the service that a container is of.
func serviceOf(c engine.Container) string { return c.Labels[labelService] }

// numberOf returns the number of a container within its service, 0 if it has none.
func numberOf(c engine.Container) int {
	n, _ := strconv.Atoi(c.Labels[labelNumber])
	return n
}

// isOneOff reports whether a container is one of "compose run".
func isOneOff(c engine.Container) bool { return strings.EqualFold(c.Labels[labelOneOff], "true") }

// dependency is one service that another waits for.
type dependency struct {
	service, condition string
	restart            bool // it is restarted when the other one is replaced
	optional           bool // it starts whatever has become of the other one
}

// dependsOnLabel writes dependencies as Docker does: SERVICE:CONDITION:RESTART.
func dependsOnLabel(list []dependency) string {
	var out []string
	for _, d := range list {
		out = append(out, d.service+":"+d.condition+":"+strconv.FormatBool(d.restart))
	}
	return strings.Join(out, ",")
}

// dependenciesOf reads the label of a container.
func dependenciesOf(c engine.Container) (list []dependency) {
	for entry := range strings.SplitSeq(c.Labels[labelDependsOn], ",") {
		parts := strings.Split(entry, ":")
		if parts[0] == "" {
			continue
		}
		d := dependency{service: parts[0]}
		if len(parts) > 1 {
			d.condition = parts[1]
		}
		d.restart = len(parts) > 2 && slices.Contains([]string{"true", "1"}, parts[2])
		list = append(list, d)
	}
	return list
}
