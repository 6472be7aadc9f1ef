package compose

import (
	"slices"

	"github.com/cleat-project/cleat/engine"
)

// DownOptions says what PlanDown removes beside containers and networks.
type DownOptions struct {
	Services      []string // of these alone, and no networks; empty means all
	Volumes       bool     // named volumes of the project and anonymous ones
	Images        string   // "", "local" (without a name of their own) or "all"
	RemoveOrphans bool     // containers of services that the project does not have
	Stop          engine.StopOptions
}

// PlanDown plans the end of a project. P may be nil: then everything that has
// the labels of the project called name goes.
func PlanDown(name string, p *Project, st *State, opt DownOptions) *Plan {
	plan := &Plan{Project: name}
	var going []engine.Container
	for _, c := range st.Containers {
		orphan := p != nil && !p.known(serviceOf(c)) && !isOneOff(c)
		asked := len(opt.Services) == 0 || slices.Contains(opt.Services, serviceOf(c))
		switch {
		case orphan && !opt.RemoveOrphans:
			plan.warnf("container %s is of a service that project %s does not have: --remove-orphans removes it", c.Name, name)
		case asked || orphan:
			going = append(going, c)
		}
	}
	removed := plan.stopAll(going, opt.Stop, func(c engine.Container, after []int) int {
		return plan.add(Step{Op: OpRemove, Object: c.Name, ID: c.ID, Remove: engine.RemoveOptions{Volumes: opt.Volumes}, After: after})
	})
	if len(opt.Services) > 0 {
		return plan
	}
	for _, n := range sorted(st.Networks) {
		if st.Networks[n].Labels[labelProject] == name {
			plan.add(Step{Op: OpRemoveNetwork, Object: n, After: removed, Soft: len(plan.Warnings) > 0})
		}
	}
	for _, v := range sorted(st.Volumes) {
		if opt.Volumes && st.Volumes[v].Labels[labelProject] == name {
			plan.add(Step{Op: OpRemoveVolume, Object: v, After: removed})
		}
	}
	plan.removeImages(p, going, opt.Images, removed)
	if !st.SliceFree {
		plan.add(Step{Op: OpFreeSlice, Object: SliceName(name), After: removed})
	}
	return plan
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// stopAll plans the end of containers, those that others depend on last, and
// what then is done with each of them. It returns the last step of each.
func (p *Plan) stopAll(list []engine.Container, opt engine.StopOptions, then func(c engine.Container, after []int) int) (last []int) {
	stops := map[string][]int{} // by service
	for _, c := range dependentsFirst(list) {
		var after []int
		for _, other := range list {
			if dependsOn(other, serviceOf(c)) {
				after = append(after, stops[serviceOf(other)]...)
			}
		}
		if isUp(c) {
			after = []int{p.add(Step{Op: OpStop, Object: c.Name, ID: c.ID, Stop: opt, After: after})}
			stops[serviceOf(c)] = append(stops[serviceOf(c)], after[0])
		}
		if then != nil {
			after = []int{then(c, after)}
		}
		last = append(last, after...)
	}
	return last
}

// dependsOn reports whether the service of a container depends on another.
func dependsOn(c engine.Container, service string) bool {
	return slices.ContainsFunc(dependenciesOf(c), func(d dependency) bool { return d.service == service && serviceOf(c) != service })
}

// dependentsFirst sorts containers by their labels, so that it works without the
// files of the project. A circle, which labels written by others may have, is cut.
func dependentsFirst(list []engine.Container) (out []engine.Container) {
	services := map[string][]engine.Container{}
	for _, c := range list {
		services[serviceOf(c)] = append(services[serviceOf(c)], c)
	}
	seen := map[string]bool{}
	var visit func(service string)
	visit = func(service string) {
		if seen[service] {
			return
		}
		seen[service] = true
		for _, other := range sorted(services) {
			if slices.ContainsFunc(services[other], func(c engine.Container) bool { return dependsOn(c, service) }) {
				visit(other)
			}
		}
		out = append(out, services[service]...)
	}
	for _, service := range sorted(services) {
		visit(service)
	}
	return out
}

// removeImages plans the removal of images: all that the project uses, or those
// to which only the project has given a name.
func (p *Plan) removeImages(project *Project, gone []engine.Container, which string, after []int) {
	if which == "" {
		return
	}
	refs := map[string]bool{}
	for _, c := range gone {
		refs[c.Image.Reference] = which == "all" || c.Image.Reference == p.Project+"-"+serviceOf(c)
	}
	if project != nil {
		for _, s := range project.model.Services {
			ref := project.imageOf(s)
			refs[ref] = refs[ref] || which == "all" || s.Image == ""
		}
	}
	for _, ref := range sorted(refs) {
		if refs[ref] {
			p.add(Step{Op: OpRemoveImage, Object: ref, After: after, Soft: true})
		}
	}
}
