package api

import (
	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/spec"
)

// healthcheck turns a health check into ours; nil leaves that of the image. The
// engine checks it. Shell is what it runs a line in.
func healthcheck(in *container.HealthConfig, shell []string) *spec.Healthcheck {
	if in == nil {
		return nil
	}
	return &spec.Healthcheck{
		Shell: shell,
		Test:  in.Test, Interval: in.Interval, Timeout: in.Timeout, StartPeriod: in.StartPeriod, StartInterval: in.StartInterval, Retries: in.Retries,
	}
}
