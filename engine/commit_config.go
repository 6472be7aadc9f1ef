package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/image"
)

// overlay returns how a container of a new image runs when the user says over: as
// base in all that over leaves open. Variables, labels, ports and volumes of both
// count; a new entrypoint forgets the old command.
func overlay(base, over image.Config) (image.Config, error) {
	out := base.Clone()
	env, err := overlayEnv(out.Env, over.Env)
	if err != nil {
		return out, err
	}
	out.Env = env
	if len(over.Entrypoint) > 0 {
		out.Entrypoint, out.Cmd = over.Entrypoint, nil
	}
	if len(over.Cmd) > 0 {
		out.Cmd = over.Cmd
	}
	for _, field := range []struct {
		to   *string
		from string
	}{{&out.User, over.User}, {&out.WorkingDir, over.WorkingDir}, {&out.StopSignal, over.StopSignal}} {
		if field.from != "" {
			*field.to = field.from
		}
	}
	if over.Healthcheck != nil && len(over.Healthcheck.Test) > 0 {
		out.Healthcheck = over.Healthcheck
	}
	if over.StopTimeout != nil {
		out.StopTimeout = over.StopTimeout
	}
	if len(over.Shell) > 0 {
		out.Shell = over.Shell
	}
	out.OnBuild = append(out.OnBuild, over.OnBuild...)
	out.Labels = union(out.Labels, over.Labels)
	out.ExposedPorts = union(out.ExposedPorts, over.ExposedPorts)
	out.Volumes = union(out.Volumes, over.Volumes)
	return out, nil
}

// overlayEnv sets the variables of over in base.
func overlayEnv(base, over []string) ([]string, error) {
	out := slices.Clone(base)
	for _, entry := range over {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, invalid("environment variable %q: want NAME=value", entry)
		}
		if i := slices.IndexFunc(out, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }); i >= 0 {
			out[i] = entry
		} else {
			out = append(out, entry)
		}
	}
	return out, nil
}

// union returns the entries of both maps; those of b count more.
func union[V any](a, b map[string]V) map[string]V {
	if len(b) == 0 {
		return a
	}
	out := map[string]V{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}
