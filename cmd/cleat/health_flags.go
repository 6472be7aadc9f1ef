package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/spec"
)

// healthFlags say how to find out whether the container does its work.
type healthFlags struct {
	cmd, onFailure             string
	interval, timeout          time.Duration
	startPeriod, startInterval time.Duration
	retries                    int
	none                       bool
	notify                     string
}

func (f *healthFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.cmd, "health-cmd", "", "Command to run to check health")
	fs.DurationVar(&f.interval, "health-interval", 0, "Time between running the check (ms|s|m|h) (default 30s)")
	fs.StringVar(&f.onFailure, "health-on-failure", "none", `Action to take once the container turns unhealthy ("none", "restart", "stop", "kill")`)
	fs.IntVar(&f.retries, "health-retries", 0, "Consecutive failures needed to report unhealthy (default 3)")
	fs.DurationVar(&f.startInterval, "health-start-interval", 0, "Time between running the check during the start period (ms|s|m|h) (default 5s)")
	fs.DurationVar(&f.startPeriod, "health-start-period", 0, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)")
	fs.DurationVar(&f.timeout, "health-timeout", 0, "Maximum time to allow one check to run (ms|s|m|h) (default 30s)")
	fs.StringVar(&f.notify, "sdnotify", "ignore", `When systemd is told that the container is ready: when its payload says so, when it is healthy, or when it runs ("container", "healthy", "ignore")`)
	fs.BoolVar(&f.none, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}

// health returns nil if nothing was said.
func (f *healthFlags) health() (*spec.Healthcheck, error) {
	h := &spec.Healthcheck{
		Interval: f.interval, Timeout: f.timeout, StartPeriod: f.startPeriod, StartInterval: f.startInterval, Retries: f.retries,
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"interval", f.interval}, {"timeout", f.timeout}, {"start-period", f.startPeriod}, {"start-interval", f.startInterval},
		{"retries", time.Duration(f.retries)},
	} {
		if d.value < 0 {
			return nil, fmt.Errorf("--health-%s cannot be negative", d.flag)
		}
	}
	switch a := spec.HealthAction(f.onFailure); a {
	case spec.HealthNone:
	case spec.HealthRestart, spec.HealthStop, spec.HealthKill:
		h.OnFailure = a
	default:
		return nil, fmt.Errorf("--health-on-failure %q: must be one of none, restart, stop or kill", f.onFailure)
	}
	if f.cmd != "" {
		h.Test = []string{"CMD-SHELL", f.cmd}
	}
	given := f.cmd != "" || h.OnFailure != "" || h.Retries != 0 || h.Interval|h.Timeout|h.StartPeriod|h.StartInterval != 0
	switch {
	case f.none && given:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case f.none:
		h.Test = []string{"NONE"}
	case !given:
		return nil, nil //nolint:nilnil // documented
	}
	return h, nil
}

// notifyMode is the value of --sdnotify, in Podman's words.
func (f *healthFlags) notifyMode() (spec.NotifyMode, error) {
	switch f.notify {
	case "ignore", "conmon":
		return spec.NotifyStarted, nil
	case "container":
		return spec.NotifyContainer, nil
	case "healthy":
		return spec.NotifyHealthy, nil
	}
	return "", fmt.Errorf("--sdnotify %q: must be one of container, healthy or ignore", f.notify)
}
