package compose

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// load makes a project of files, the first of which is compose.yaml.
func load(t *testing.T, files ...string) *Project {
	t.Helper()
	p, err := tryLoad(t, LoadOptions{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryLoad(t *testing.T, opt LoadOptions, files ...string) (*Project, error) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		path := filepath.Join(dir, "compose.yaml")
		if i > 0 {
			path = filepath.Join(dir, fmt.Sprintf("more%d.yaml", i))
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		opt.Files = append(opt.Files, path)
	}
	opt.Name = "shop"
	p, err := Load(context.Background(), opt)
	return p, err
}

// world builds a present state.
type world struct {
	t  *testing.T
	p  *Project
	st *State
}

// nothing is the state before the first "up", with the images here.
func nothing(t *testing.T, p *Project) *world {
	w := &world{t, p, &State{
		Networks: map[string]engine.NetworkInspect{}, Volumes: map[string]engine.Volume{}, Images: map[string]string{}, SliceDone: true, SliceFree: true,
	}}
	for _, ref := range p.Images() {
		w.st.Images[ref] = "sha256:" + ref
	}
	return w
}

// up is the state after an "up".
func up(t *testing.T, p *Project) *world {
	w := nothing(t, p)
	for _, key := range p.Networks() {
		opt, err := p.networkOptions(key)
		if err != nil {
			t.Fatal(err)
		}
		w.st.Networks[opt.Name] = engine.NetworkInspect{Name: opt.Name, Labels: opt.Labels}
	}
	for _, key := range p.Volumes() {
		opt, err := p.volumeOptions(key)
		if err != nil {
			t.Fatal(err)
		}
		w.st.Volumes[opt.Name] = engine.Volume{Name: opt.Name, Labels: opt.Labels}
	}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		for n := 1; n <= s.GetScale(); n++ {
			w.add(name, n)
		}
	}
	return w
}

// add adds container number n of a service as the project wants it, and runs it.
func (w *world) add(service string, n int, changes ...func(*engine.Container)) *world {
	w.t.Helper()
	s := w.p.model.AllServices()[service]
	want, err := w.p.convert(s)
	if err != nil {
		w.t.Fatal(err)
	}
	opt := w.p.createOptions(want, n, w.p.containerName(s, n), nil)
	c := engine.Container{Container: opt.Container, Status: engine.StatusRunning}
	c.ID = fmt.Sprintf("%012d", len(w.st.Containers)+1) + strings.Repeat("0", 52)
	c.Image = spec.Image{Reference: opt.Image, ID: "sha256:" + opt.Image}
	c.Run.StartedAt = time.Unix(1, 0)
	for _, change := range changes {
		change(&c)
	}
	w.st.Containers = append(w.st.Containers, c)
	return w
}

func old(c *engine.Container)     { c.Labels[labelCleatSource] = "of another time" }
func exited(c *engine.Container)  { c.Status = engine.StatusExited }
func created(c *engine.Container) { c.Status, c.Run.StartedAt = engine.StatusCreated, time.Time{} }

func named(name string) func(*engine.Container) {
	return func(c *engine.Container) { c.Name = name }
}

// of changes the containers of a service.
func (w *world) of(service string, change func(*engine.Container)) *world {
	for i := range w.st.Containers {
		if serviceOf(w.st.Containers[i]) == service {
			change(&w.st.Containers[i])
		}
	}
	return w
}

const shop = `
services:
  web:
    image: nginx
    depends_on: [db, cache]
    ports: ["8080:80"]
  db:
    image: postgres
    volumes: ["data:/var/lib/postgresql"]
    restart: always
  cache: {image: redis}
volumes: {data: {}}
`

const chain = `
services:
  web:
    image: nginx
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_healthy, restart: true}
  migrate:
    image: app
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres
    healthcheck: {test: pg_isready, interval: 1s}
  worker: {image: app, deploy: {replicas: 2}}
  side: {image: app, network_mode: "service:db"}
  hooked: {image: app, post_start: [{command: [touch, /x]}]}
x-cleat-slice: {mem_limit: 512m}
`

func TestPlanUp(t *testing.T) {
	oldWeb := func(w *world) { w.of("web", old) }
	tests := map[string]struct {
		file string
		from func(*testing.T, *Project) *world
		do   func(*world)
		opt  UpOptions
	}{
		"first":                 {file: shop, from: nothing},
		"first-chain":           {file: chain, from: nothing, do: func(w *world) { w.st.SliceDone = false }},
		"second":                {file: shop, from: up},
		"second-chain":          {file: chain, from: up},
		"changed":               {file: shop, from: up, do: oldWeb},
		"changed-binds-others":  {file: chain, from: up, do: func(w *world) { w.of("db", old) }},
		"changed-no-recreate":   {file: shop, from: up, do: oldWeb, opt: UpOptions{NoRecreate: true}},
		"changed-image":         {file: shop, from: up, do: func(w *world) { w.st.Images["redis"] = "sha256:new" }},
		"changed-stopped":       {file: shop, from: up, do: func(w *world) { w.of("web", old); w.of("web", exited) }},
		"force-recreate-of-one": {file: shop, from: up, opt: UpOptions{ForceRecreate: true, Services: []string{"cache"}}},
		"stopped":               {file: chain, from: up, do: func(w *world) { w.of("db", exited); w.of("web", exited); w.of("migrate", exited) }},
		"ending":                {file: shop, from: up, do: func(w *world) { w.of("db", func(c *engine.Container) { c.Ending = true }) }},
		"scale-up":              {file: chain, from: up, opt: UpOptions{Scale: map[string]int{"worker": 3}}},
		"scale-down":            {file: chain, from: up, opt: UpOptions{Scale: map[string]int{"worker": 1}}},
		"create":                {file: shop, from: nothing, opt: UpOptions{NoStart: true}},
		"wait":                  {file: shop, from: up, opt: UpOptions{Wait: true}},
		"orphans":               {file: shop, from: up, do: orphan},
		"remove-orphans":        {file: shop, from: up, do: orphan, opt: UpOptions{RemoveOrphans: true}},
		"killed-after-create": {file: shop, from: up, do: func(w *world) {
			w.of("web", old)
			w.add("web", 1, created, named("000000000003_shop-web-1"))
		}},
		"killed-after-taking-the-name": {file: shop, from: up, do: func(w *world) {
			w.of("web", created)
			w.add("web", 1, old, exited, named("000000000003_old"))
		}},
		"killed-before-the-new-name": {file: shop, from: up, do: func(w *world) {
			w.of("web", created)
			w.of("web", named("000000000004_shop-web-1"))
			w.add("web", 1, old, exited, named("000000000004_old"))
		}},
		"injected-files": {file: "services: {web: {image: nginx, configs: [a]}}\nconfigs: {a: {content: hello}}\n", from: nothing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := load(t, tt.file)
			w := tt.from(t, p)
			if tt.do != nil {
				tt.do(w)
			}
			plan, err := PlanUp(p, w.st, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, "up-"+name+".txt", planText(plan))
			checkOrder(t, plan)
		})
	}
}

func orphan(w *world) {
	w.add("cache", 1, func(c *engine.Container) { c.Name, c.Labels[labelService] = "shop-gone-1", "gone" })
}

// planText is a plan with its warnings, without the paths of the test.
func planText(plan *Plan) []byte {
	text := plan.String()
	for _, w := range plan.Warnings {
		text += "WARNING: " + w + "\n"
	}
	return []byte(text)
}

// checkOrder fails the test if a step waits for itself or a later one.
func checkOrder(t *testing.T, plan *Plan) {
	t.Helper()
	for i, s := range plan.Steps {
		for _, n := range s.After {
			if n >= i {
				t.Errorf("step %d waits for step %d", i+1, n+1)
			}
		}
	}
}

func TestPlanDown(t *testing.T) {
	tests := map[string]struct {
		file  string
		do    func(*world)
		opt   DownOptions
		blind bool // without the files
	}{
		"plain":             {file: shop},
		"volumes":           {file: shop, opt: DownOptions{Volumes: true}},
		"images":            {file: shop, opt: DownOptions{Images: "all"}},
		"one-service":       {file: shop, opt: DownOptions{Services: []string{"cache"}}},
		"without-files":     {file: shop, blind: true},
		"orphans-stay":      {file: shop, do: orphan},
		"orphans-go":        {file: shop, do: orphan, opt: DownOptions{RemoveOrphans: true}},
		"dependents-first":  {file: chain, blind: true, do: func(w *world) { w.st.SliceFree = false }},
		"what-does-not-run": {file: shop, do: func(w *world) { w.of("web", exited) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := load(t, tt.file)
			w := up(t, p)
			if tt.do != nil {
				tt.do(w)
			}
			if tt.blind {
				p = nil
			}
			plan := PlanDown("shop", p, w.st, tt.opt)
			checkGolden(t, "down-"+name+".txt", planText(plan))
			checkOrder(t, plan)
		})
	}
}

func TestPlanVerbs(t *testing.T) {
	p := load(t, chain)
	w := up(t, p).of("worker", exited)
	plans := map[string]*Plan{
		"start-running": PlanStart("shop", w.st.Containers),
		"stop":          PlanStop("shop", w.st.Containers, engine.StopOptions{}),
		"restart":       PlanRestart("shop", w.st.Containers, engine.StopOptions{}),
		"pause":         PlanEach("shop", OpPause, w.st.Containers, Step{}),
		"rm":            PlanEach("shop", OpRemove, w.st.Containers, Step{}),
	}
	for _, c := range w.st.Containers {
		w.of(serviceOf(c), exited)
	}
	plans["start"] = PlanStart("shop", w.st.Containers)
	for name, plan := range plans {
		checkGolden(t, name+".txt", planText(plan))
		checkOrder(t, plan)
	}
}
