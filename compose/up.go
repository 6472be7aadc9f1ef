package compose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// UpOptions says what PlanUp brings about.
type UpOptions struct {
	Services         []string       // those asked for by name; empty means all of the project
	Scale            map[string]int // containers of a service, instead of what the files say
	ForceRecreate    bool
	NoRecreate       bool
	RecreateDeps     bool // with Services: dependencies as well
	NoStart          bool // create alone
	Wait             bool // until all are up, and healthy where they have a check
	RemoveOrphans    bool
	IgnoreOrphans    bool
	RenewAnonVolumes bool // do not take anonymous volumes over
	Stop             engine.StopOptions
	Pull             string // "always", "never", "missing"; "" leaves it to the services
}

// PlanPull plans what has to be fetched before PlanUp can tell what changes.
func PlanPull(p *Project, st *State, opt UpOptions) (*Plan, error) {
	plan := &Plan{Project: p.Name()}
	seen := map[string]bool{}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		ref := p.imageOf(s)
		_, here := st.Images[ref]
		policy := cmp.Or(opt.Pull, s.PullPolicy, "missing")
		switch {
		case seen[ref]:
			continue
		case s.Build != nil && !here && (s.PullPolicy == "build" || s.Image == ""):
			return nil, p.refusef("services."+name+".build", "image %q is not on this machine, and was not to be built: %w", ref, spec.ErrUnsupport)
		case policy == "never" && !here:
			return nil, fmt.Errorf("service %q: image %q is not on this machine and its pull policy forbids fetching it: %w", name, ref, spec.ErrNotFound)
		case policy == "always" && s.Build == nil:
			plan.add(Step{Op: OpPull, Object: ref, Why: "the newest is wanted"})
		case !here && policy != "never":
			plan.add(Step{Op: OpPull, Object: ref, Why: "it is not here"})
		}
		seen[ref] = true
	}
	return plan, nil
}

// upper plans what "up" does.
type upper struct {
	*Plan
	p     *Project
	st    *State
	opt   UpOptions
	ready map[string][]int // by service: the steps after which its containers run
	made  map[string][]int // by service: the steps after which they exist under their names
	waits map[string][]int // by kind and service: the steps that wait for its end or its health
	fresh map[string]bool  // services of which a container is new
	base  []int            // networks, volumes, the slice
}

// PlanUp plans how the present state becomes that which the project wants.
func PlanUp(p *Project, st *State, opt UpOptions) (*Plan, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	u := &upper{
		Plan: &Plan{Project: p.Name()}, p: p, st: st, opt: opt,
		ready: map[string][]int{}, made: map[string][]int{}, waits: map[string][]int{}, fresh: map[string]bool{},
	}
	order, err := p.order()
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{u.slice, u.networks, u.volumes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, name := range order {
		if err := u.service(name); err != nil {
			return nil, err
		}
	}
	u.orphans()
	if opt.Wait {
		u.awaitAll()
	}
	return u.Plan, nil
}

// order returns the active services, each after those that it depends on.
func (p *Project) order() (list []string, err error) {
	state := map[string]int{} // 1: being visited, 2: done
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		switch state[name] {
		case 1:
			return fmt.Errorf("services depend on each other in a circle: %s: %w", strings.Join(append(path, name), " -> "), spec.ErrInvalid)
		case 2:
			return nil
		}
		state[name] = 1
		s := p.model.Services[name]
		for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
			if _, active := p.model.Services[dep]; !active {
				if s.DependsOn[dep].Required && p.known(dep) {
					return fmt.Errorf("service %q depends on %q, which no active profile has: activate it with --profile: %w", name, dep, spec.ErrInvalid)
				}
				continue
			}
			if err := visit(dep, append(path, name)); err != nil {
				return err
			}
		}
		state[name] = 2
		list = append(list, name)
		return nil
	}
	for _, name := range p.Services() {
		if err := visit(name, nil); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (u *upper) slice() error {
	opt, err := u.p.slice()
	if err != nil || u.st.SliceDone {
		return err
	}
	u.base = append(u.base, u.add(Step{Op: OpSlice, Object: opt.Name, Slice: &opt}))
	return nil
}

func (u *upper) networks() error {
	for _, key := range u.p.model.NetworkNames() {
		cfg := u.p.model.Networks[key]
		have, exists := u.st.Networks[cfg.Name]
		if cfg.External {
			if !exists {
				return fmt.Errorf("network %q is external and does not exist: create it with 'cleat network create %s': %w", cfg.Name, cfg.Name, spec.ErrNotFound)
			}
			continue
		}
		opt, err := u.p.networkOptions(key)
		if err != nil {
			return err
		}
		switch {
		case !exists:
			u.base = append(u.base, u.add(Step{Op: OpCreateNetwork, Object: cfg.Name, Network: &opt}))
		case have.Labels[labelProject] != u.p.Name():
			return fmt.Errorf("network %q exists and is not of project %q: choose another name, or mark it external: %w", cfg.Name, u.p.Name(), spec.ErrConflict)
		case have.Labels[labelHash] != "" && have.Labels[labelHash] != opt.Labels[labelHash]:
			return fmt.Errorf("network %q has changed in the project: take that down first with 'cleat compose down', which keeps the volumes: %w", cfg.Name, spec.ErrConflict)
		}
	}
	return nil
}

func (u *upper) volumes() error {
	for _, key := range u.p.model.VolumeNames() {
		cfg := u.p.model.Volumes[key]
		have, exists := u.st.Volumes[cfg.Name]
		if cfg.External {
			if !exists {
				return fmt.Errorf("volume %q is external and does not exist: create it with 'cleat volume create %s': %w", cfg.Name, cfg.Name, spec.ErrNotFound)
			}
			continue
		}
		opt, err := u.p.volumeOptions(key)
		if err != nil {
			return err
		}
		switch {
		case !exists:
			u.base = append(u.base, u.add(Step{Op: OpCreateVolume, Object: cfg.Name, Volume: &opt}))
		case have.Labels[labelProject] != u.p.Name():
			u.warnf("volume %q exists and was not made for project %q: mark it external to use it", cfg.Name, u.p.Name())
		case have.Labels[labelHash] != "" && have.Labels[labelHash] != opt.Labels[labelHash]:
			u.warnf("volume %q has changed in the project and stays as it is: remove it to have it made anew", cfg.Name)
		}
	}
	return nil
}

// service plans the containers of one service, whose dependencies are planned.
func (u *upper) service(name string) error {
	w, err := u.p.convert(u.p.model.Services[name])
	if err != nil {
		return err
	}
	scale := w.service.GetScale()
	if n, ok := u.opt.Scale[name]; ok {
		scale = n
	}
	if w.service.ContainerName != "" && scale > 1 {
		return fmt.Errorf("service %q has a container_name and so can have one container, not %d: %w", name, scale, spec.ErrInvalid)
	}
	byNumber, surplus := u.assign(w, scale)
	for n := 1; n <= scale; n++ {
		if err := u.container(w, n, byNumber[n]); err != nil {
			return err
		}
	}
	for _, c := range surplus {
		u.discard(c, "more than the service is to have")
	}
	return nil
}

// assign gives every container of a service to one of the numbers from 1 to
// scale, or to none.
func (u *upper) assign(w *wanted, scale int) (byNumber map[int][]engine.Container, surplus []engine.Container) {
	byNumber = map[int][]engine.Container{}
	for _, c := range u.st.ofService(w.service.Name) {
		if n := numberOf(c); n >= 1 && n <= scale {
			byNumber[n] = append(byNumber[n], c)
		} else {
			surplus = append(surplus, c)
		}
	}
	return byNumber, surplus
}

// container plans number n of a service, of which there is have: usually one or
// none, more after an "up" that was killed.
func (u *upper) container(w *wanted, n int, have []engine.Container) error {
	name := u.p.containerName(w.service, n)
	cur, others := u.choose(w, name, have)
	if cur == nil || cur.Name != name {
		return u.replace(w, n, cur, others)
	}
	for _, c := range others {
		u.discard(c, "left over")
	}
	u.keep(w, *cur)
	return nil
}

// choose returns the container to keep, nil for none, and the others.
func (u *upper) choose(w *wanted, name string, have []engine.Container) (cur *engine.Container, others []engine.Container) {
	slices.SortStableFunc(have, func(a, b engine.Container) int { // the one with the name first
		return boolCompare(b.Name == name, a.Name == name)
	})
	for i, c := range have {
		half := c.Name != name && len(w.files) > 0 // perhaps without its files
		if cur == nil && !half && u.why(w, c) == "" {
			cur = &have[i]
			continue
		}
		others = append(others, c)
	}
	return cur, others
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// why returns the reason to replace a container, "" if it can stay.
func (u *upper) why(w *wanted, c engine.Container) string {
	forced := u.opt.ForceRecreate && (len(u.opt.Services) == 0 || u.opt.RecreateDeps || slices.Contains(u.opt.Services, w.service.Name))
	switch {
	case forced:
		return "asked for"
	case u.opt.NoRecreate:
		return ""
	case c.Labels[labelCleatSource] != "" && c.Labels[labelCleatSource] != w.hash,
		c.Labels[labelCleatSource] == "" && c.Labels[labelHash] != w.docker:
		return "its configuration has changed"
	}
	if id := u.st.Images[w.create.Image]; id != "" && id != c.Image.ID {
		return "its image has changed"
	}
	for _, other := range w.bound {
		if u.fresh[other] {
			return "it refers to a container of " + other + ", which is new"
		}
	}
	return ""
}

// keep plans for a container that stays: it is started if it does not run.
func (u *upper) keep(w *wanted, c engine.Container) {
	name := w.service.Name
	if u.opt.NoStart {
		return
	}
	if isUp(c) && !c.Ending {
		for _, d := range w.depends {
			if d.restart && u.fresh[d.service] {
				i := u.add(Step{Op: OpRestart, Object: c.Name, ID: c.ID, Health: startsHealthy(c), Stop: u.opt.Stop, Why: d.service + " is new", After: u.conditions(w)})
				u.ready[name] = append(u.ready[name], i)
				return
			}
		}
		return
	}
	after := u.conditions(w)
	if isUp(c) { // somebody stops it, perhaps a "down" that was killed: this waits for the end
		after = append(after, u.add(Step{Op: OpStop, Object: c.Name, ID: c.ID, Stop: u.opt.Stop, Why: "it is about to end"}))
	}
	i := u.add(Step{Op: OpStart, Object: c.Name, ID: c.ID, Health: startsHealthy(c), After: after})
	u.started(w, c.Name, i)
}

// started plans the hooks of a container that step i starts.
func (u *upper) started(w *wanted, name string, i int) {
	for k := range w.hooks {
		i = u.add(Step{Op: OpHook, Object: name, Hook: &w.hooks[k], After: []int{i}})
	}
	u.ready[w.service.Name] = append(u.ready[w.service.Name], i)
}

// conditions returns the steps that a container of w has to wait for before it
// starts.
func (u *upper) conditions(w *wanted) (after []int) {
	for _, d := range w.depends {
		after = append(after, u.ready[d.service]...)
		switch d.condition {
		case "service_completed_successfully":
			after = append(after, u.awaited(d, OpExited)...)
		case "service_healthy":
			after = append(after, u.awaited(d, OpHealthy)...)
		}
	}
	return after
}

// awaited plans to wait for the end of a service or for its health, once.
func (u *upper) awaited(d dependency, op Op) []int {
	key := string(op) + d.service
	if steps, ok := u.waits[key]; ok {
		return steps
	}
	steps := []int{}
	s, active := u.p.model.Services[d.service]
	for n := 1; active && n <= u.scaleOf(d.service); n++ {
		steps = append(steps, u.add(Step{Op: op, Object: u.p.containerName(s, n), After: u.ready[d.service], Soft: d.optional}))
	}
	u.waits[key] = steps
	return steps
}

// awaitAll plans to wait until every container is up, and healthy if it has a
// check.
func (u *upper) awaitAll() {
	for _, name := range u.p.Services() {
		s := u.p.model.Services[name]
		for n := 1; n <= u.scaleOf(name); n++ {
			u.add(Step{Op: OpUp, Object: u.p.containerName(s, n), After: u.ready[name]})
		}
	}
}

func (u *upper) scaleOf(service string) int {
	if n, ok := u.opt.Scale[service]; ok {
		return n
	}
	s := u.p.model.Services[service]
	return s.GetScale()
}

// discard plans the removal of a container that is in nobody's place.
func (u *upper) discard(c engine.Container, why string) {
	var after []int
	if isUp(c) {
		after = []int{u.add(Step{Op: OpStop, Object: c.Name, ID: c.ID, Stop: u.opt.Stop, Why: why})}
	}
	u.add(Step{Op: OpRemove, Object: c.Name, ID: c.ID, Why: why, After: after})
}

func isUp(c engine.Container) bool {
	switch c.Status {
	case engine.StatusRunning, engine.StatusPaused, engine.StatusRestarting:
		return true
	}
	return false
}

// orphans plans the removal of containers whose services the project does not
// have any more, or tells of them.
func (u *upper) orphans() {
	var names []string
	for _, c := range u.st.Containers {
		if isOneOff(c) || u.p.known(serviceOf(c)) {
			continue
		}
		if u.opt.RemoveOrphans {
			u.discard(c, "its service is gone")
			continue
		}
		names = append(names, c.Name)
	}
	if len(names) > 0 && !u.opt.IgnoreOrphans {
		u.warnf("containers %s are of services that project %s does not have: --remove-orphans removes them", strings.Join(names, ", "), u.p.Name())
	}
}

// PlanPrepare plans the networks, volumes and limits of a project alone.
func PlanPrepare(p *Project, st *State) (*Plan, error) {
	u := &upper{Plan: &Plan{Project: p.Name()}, p: p, st: st}
	for _, step := range []func() error{u.slice, u.networks, u.volumes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return u.Plan, nil
}
