package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// specExamples are projects of the shapes that the Compose Specification explains
// its features with, with images that are here and commands that end.
var specExamples = []struct {
	name    string
	files   map[string]string // beside compose.yaml
	compose string
	up      []string // arguments before "up"
	services,
	logs []string // sorted; without the prefixes
}{
	{
		// "The Compose application model": networks in tiers, a volume, a config, a secret.
		name:  "model",
		files: map[string]string{"httpd.conf": "Listen 8043\n", "server.cert": "certificate\n"},
		compose: `
services:
  frontend:
    image: busybox
    command: sh -c "cat /httpd-config /run/secrets/server-certificate"
    ports: ["8443:8043"]
    networks: [front-tier, back-tier]
    configs: [httpd-config]
    secrets: [server-certificate]
    depends_on: [backend]
  backend:
    image: busybox
    command: sh -c "echo data >/etc/data/x && cat /etc/data/x"
    volumes: [db-data:/etc/data]
    networks: [back-tier]
volumes: {db-data: }
configs: {httpd-config: {file: ./httpd.conf}}
secrets: {server-certificate: {file: ./server.cert}}
networks: {front-tier: {}, back-tier: {}}
`,
		services: []string{"backend", "frontend"},
		logs:     []string{"Listen 8043", "certificate", "data"},
	},
	{
		// "Profiles": what has none is always there.
		name: "profiles",
		compose: `
services:
  web: {image: busybox, command: echo web}
  test_lib: {image: busybox, command: echo test_lib, profiles: [test]}
  coverage_lib: {image: busybox, command: echo coverage_lib, depends_on: [test_lib], profiles: [test]}
  debug_lib: {image: busybox, command: echo debug_lib, depends_on: [test_lib], profiles: [debug]}
`,
		up:       []string{"--profile", "test"},
		services: []string{"coverage_lib", "test_lib", "web"},
		logs:     []string{"coverage_lib", "test_lib", "web"},
	},
	{
		// "Fragments" and "Extensions": anchors, merge keys, x- keys.
		name: "fragments",
		compose: `
x-env: &env {CONFIG_KEY: one, EXAMPLE_KEY: ""}
x-keystone: &keystone {KEY: VALUE}
services:
  first:
    image: busybox
    environment: *env
    command: sh -c 'echo "first $$CONFIG_KEY"'
  second:
    image: busybox
    environment: {<<: [*env, *keystone], VARIABLE: two}
    command: sh -c 'echo "second $$CONFIG_KEY $$KEY $$VARIABLE"'
`,
		services: []string{"first", "second"},
		logs:     []string{"first one", "second one VALUE two"},
	},
	{
		// "Interpolation" and the file .env, "Include" and "extends" from another file.
		name: "files",
		files: map[string]string{
			".env":        "TAG=latest\n",
			"common.yaml": "services:\n  base:\n    image: busybox:${TAG}\n    environment: {FROM: common}\n",
			"part/c.yaml": "services:\n  included: {image: \"busybox:${TAG:?no tag}\", command: echo included}\n",
		},
		compose: `
include: [part/c.yaml]
services:
  app:
    extends: {file: common.yaml, service: base}
    command: sh -c 'echo "$$FROM ${MISSING:-default} ${TAG:+set}"'
    depends_on: {included: {condition: service_completed_successfully}}
`,
		services: []string{"app", "included"},
		logs:     []string{"common default set", "included"},
	},
}

// TestComposeSpecification runs such projects: what of them is up, and what it says.
func TestComposeSpecification(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	for _, example := range specExamples {
		p := s.newProject(t, "spec-"+example.name, example.compose)
		for name, text := range example.files {
			path := filepath.Join(p.dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p.mustCompose(t, append(slices.Clone(example.up), "up", "-d", "--quiet-pull")...)
		services := strings.Fields(p.mustCompose(t, append(slices.Clone(example.up), "ps", "-a", "--services")...))
		slices.Sort(services)
		if fmt.Sprint(services) != fmt.Sprint(example.services) {
			t.Errorf("%s: services %v, want %v", example.name, services, example.services)
		}
		var lines []string
		until(t, example.name+" has ended", func() bool { return len(p.running(t)) == 0 })
		for line := range strings.Lines(p.mustCompose(t, append(slices.Clone(example.up), "logs", "--no-log-prefix", "--no-color")...)) {
			lines = append(lines, strings.TrimSpace(line))
		}
		slices.Sort(lines)
		if fmt.Sprint(lines) != fmt.Sprint(example.logs) {
			t.Errorf("%s: it says %q, want %q", example.name, lines, example.logs)
		}
	}
}
