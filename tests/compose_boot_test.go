package tests

import (
	"strings"
	"testing"
)

// At boot systemd alone brings a project up in order: what waits for the health of
// another service starts once that is healthy.
func TestComposeBoot(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "order", `
services:
  web:
    image: busybox
    restart: always
    depends_on: {db: {condition: service_healthy, restart: true}}
    volumes: ["data:/data:ro"]
    command: [sh, -c, "if test -e /data/ready; then echo in order; else echo too early; fi; trap 'exit 0' TERM; while :; do sleep 1d & wait; done"]
  db:
    image: busybox
    restart: always
    volumes: ["data:/data"]
    command: [sh, -c, "rm -f /data/ready; sleep 2; touch /data/ready; trap 'exit 0' TERM; while :; do sleep 1d & wait; done"]
    healthcheck: {test: "test -e /data/ready", interval: 200ms, start_interval: 200ms, start_period: 60s}
volumes: {data: {}}
`)
	said := func(n int) func() bool {
		return func() bool { return strings.Count(s.try("logs", "order-web-1").out, "in order") == n }
	}
	p.mustCompose(t, "up", "-d")
	until(t, "web is up", said(1))
	if out := p.mustCompose(t, "up", "-d"); out != "" {
		t.Errorf("second up: %q", out)
	}
	s.must(t, "host", "stop")
	s.must(t, "host", "start", "--private-network")
	until(t, "web is up again", said(2))
	p.mustCompose(t, "restart", "db")
	until(t, "web was restarted with db", said(3))
	p.mustCompose(t, "restart", "--no-deps", "db")
	if out := s.must(t, "logs", "order-web-1"); strings.Contains(out, "early") || !said(3)() {
		t.Errorf("web said %q", out)
	}
	p.mustCompose(t, "down", "-v", "-t", "0")
	s.clean(t)
}

// A service that never gets healthy does not keep up for ever.
func TestComposeUnhealthy(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	p := s.newProject(t, "sick", `
services:
  web: {image: busybox, restart: always, command: `+loop+`, depends_on: {db: {condition: service_healthy}}}
  db: {image: busybox, restart: always, command: `+loop+`, healthcheck: {test: "false", interval: 100ms, retries: 2}}
`)
	r := p.compose("up", "-d")
	if r.code != 1 || !strings.Contains(r.stderr, "sick-db-1: it is unhealthy") {
		t.Errorf("up: %v", r)
	}
	if got := s.inspect(t, "sick-web-1", "{{.State.Status}}"); got != "created" {
		t.Errorf("web is %s", got)
	}
	p.mustCompose(t, "down", "-t", "0")
	s.clean(t)
}
