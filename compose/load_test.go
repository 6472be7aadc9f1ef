package compose

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// What the specification has is either done or refused: this file is what is
// done, and a new version of it shows what has to be decided.
func TestDoneAttributes(t *testing.T) {
	var lines []string
	for _, path := range supportedPaths() {
		lines = append(lines, path.String())
	}
	checkGolden(t, "attributes.txt", []byte(strings.Join(lines, "\n")+"\n"))
}

func service(lines ...string) string {
	return "services:\n  web:\n    image: x\n    " + strings.Join(lines, "\n    ") + "\n"
}

func TestRefusedAttributes(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"a device":             {service("gpus: all"), "compose.yaml:4: services.web.gpus: is not supported"},
		"a windows key":        {service("cpu_count: 2"), "services.web.cpu_count: is for Windows"},
		"a kernel without it":  {service("mem_swappiness: 5"), "services.web.mem_swappiness: the kernel"},
		"swarm's deploy":       {service("deploy:", "  mode: global"), `compose.yaml:5: services.web.deploy.mode: the value "global": is for Docker Swarm only`},
		"swarm's placement":    {service("deploy: {placement: {constraints: [a]}}"), "compose.yaml:4: services.web.deploy.placement"},
		"a cgroup":             {service("cgroup_parent: x"), "x-cleat-slice"},
		"an oom killer":        {service("oom_kill_disable: true"), "services.web.oom_kill_disable"},
		"a mount of an image":  {service("volumes: [{type: image, source: x, target: /x}]"), "services.web.volumes.[]"},
		"a volume's driver":    {service() + "volumes: {v: {driver: nfs}}\n", `volumes.v.driver: the value "nfs": volumes are local directories`},
		"an external config":   {service() + "configs: {s: {external: true}}\n", "configs.s.external"},
		"a hook before a stop": {service("pre_stop: [{command: [a]}]"), "services.web.pre_stop"},
		"a pull policy":        {service("pull_policy: daily"), "services.web.pull_policy"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := PlanUp(load(t, tt.file), &State{SliceDone: true}, UpOptions{})
			if !errors.Is(err, spec.ErrUnsupport) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestHarmlessValuesPass(t *testing.T) {
	file := service("oom_kill_disable: false", "isolation: default", "deploy: {mode: replicated}", "develop: {watch: []}", "userns_mode: host") + "volumes: {v: {driver: local}}\nx-own: {any: thing}\n"
	if err := load(t, file).Check(); err != nil {
		t.Error(err)
	}
}

// A service that no profile activates does not stand in the way of others.
func TestRefusedInAnInactiveService(t *testing.T) {
	file := "services:\n  a: {image: x}\n  b: {image: x, gpus: all, profiles: [p]}\n"
	p := load(t, file)
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	if p, err := p.Select([]string{"b"}, SelectOptions{}); err != nil || p.Check() == nil {
		t.Errorf("with b selected: %v, and no refusal", err)
	}
}

func TestBadFiles(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"version 1":               {"web:\n  image: x\ndb:\n  build: .\n", "is a compose file of version 1"},
		"an unknown key":          {service("imagge: y"), "imagge"},
		"no such dependency":      {service("depends_on: [db]"), "db"},
		"bad yaml":                {"services: [", "compose.yaml"},
		"a bad port":              {service("ports: ['0.0.0.0:x:80']"), "x"},
		"a bad limit":             {service("memswap_limit: 1g"), "services.web.mem_limit"},
		"both kinds of CPU limit": {service("cpus: 1", "cpu_quota: 50000"), "compose.yaml:5: services.web.cpu_quota"},
		"a bad ulimit":            {service("ulimits: {nosuch: 5}"), "services.web.ulimits"},
		"a bad logging driver":    {service("logging: {driver: syslog}"), "services.web.logging"},
		"a bad restart":           {service("restart: sometimes"), "services.web.restart"},
		"a bad limit of a slice":  {service() + "x-cleat-slice: {speed: 5}\n", "compose.yaml:5: x-cleat-slice.speed"},
		"several with one name":   {service("container_name: one", "scale: 2"), "container_name"},
		"a secret that is not":    {service("secrets: [s]"), "s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := tryLoad(t, LoadOptions{}, tt.file)
			if err == nil {
				_, err = PlanUp(p, nothing(t, p).st, UpOptions{})
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOverrideFilesAndVariables(t *testing.T) {
	t.Setenv("TAG", "7")
	p := load(t, "services: {web: {image: 'x:${TAG}', environment: {A: 1}}}\n", "services: {web: {environment: {B: 2}, command: [run]}}\n")
	w, err := p.convert(p.model.Services["web"])
	if err != nil {
		t.Fatal(err)
	}
	got := w.create.Image + " " + strings.Join(w.create.Container.Process.Env, " ") + " " + strings.Join(w.create.Container.Process.Cmd, " ")
	if want := "x:7 A=1 B=2 run"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDotEnvIncludeExtendsAndEnvFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".env", "TAG=9\nCOMPOSE_PROJECT_NAME=fromenv\n")
	write("vars", "V=1\n")
	write("base.yaml", "services: {base: {image: 'b:${TAG}', env_file: vars}}\n")
	write("more.yaml", "services: {extra: {image: e}}\n")
	write("compose.yaml", "include: [more.yaml]\nservices: {web: {extends: {file: base.yaml, service: base}}}\n")
	p, err := Load(t.Context(), LoadOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.convert(p.model.Services["web"])
	if err != nil {
		t.Fatal(err)
	}
	got := p.Name() + " " + strings.Join(p.Services(), ",") + " " + w.create.Image + " " + strings.Join(w.create.Container.Process.Env, " ")
	if want := "fromenv extra,web b:9 V=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWarningsAreHeard(t *testing.T) {
	var heard []string
	_, err := tryLoad(t, LoadOptions{Warn: func(s string) { heard = append(heard, s) }}, "services: {web: {image: 'x$NOSUCHVARIABLE'}}\n")
	if err != nil || len(heard) != 1 || !strings.Contains(heard[0], "NOSUCHVARIABLE") {
		t.Errorf("heard %q, %v", heard, err)
	}
}

func TestNoFileIsNotFound(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(t.Context(), LoadOptions{}); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestSliceNamesDoNotNest(t *testing.T) {
	for project, want := range map[string]string{"shop": "cleat-shop.slice", "my-shop": "cleat-my.shop.slice", "a_b": "cleat-a_b.slice"} {
		if got := SliceName(project); got != want {
			t.Errorf("SliceName(%q) = %q, want %q", project, got, want)
		}
	}
}
