package compose

import (
	"fmt"
	"slices"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Pick returns the containers of some services, of all of them without names.
// What "compose run" has made is left out.
func Pick(list []engine.Container, services []string) ([]engine.Container, error) {
	var out []engine.Container
	for _, c := range list {
		if !isOneOff(c) && (len(services) == 0 || slices.Contains(services, serviceOf(c))) {
			out = append(out, c)
		}
	}
	for _, name := range services {
		if !slices.ContainsFunc(out, func(c engine.Container) bool { return serviceOf(c) == name }) {
			return nil, fmt.Errorf("service %q has no container: %w", name, spec.ErrNotFound)
		}
	}
	return out, nil
}

// One returns container number index of a service, its first one for 0.
func One(list []engine.Container, service string, index int) (engine.Container, error) {
	picked, err := Pick(list, []string{service})
	if err != nil {
		return engine.Container{}, err
	}
	for _, c := range picked {
		if index == 0 || numberOf(c) == index {
			return c, nil
		}
	}
	return engine.Container{}, fmt.Errorf("service %q has no container number %d: %w", service, index, spec.ErrNotFound)
}

// PlanStop plans to stop containers, those that others depend on last.
func PlanStop(project string, list []engine.Container, opt engine.StopOptions) *Plan {
	plan := &Plan{Project: project}
	plan.stopAll(list, opt, nil)
	return plan
}

// PlanStart plans to start containers that exist, each after those that it
// depends on.
func PlanStart(project string, list []engine.Container) *Plan {
	plan := &Plan{Project: project}
	plan.inOrder(list, func(c engine.Container, after []int) int {
		if isUp(c) {
			return -1
		}
		return plan.add(Step{Op: OpStart, Object: c.Name, ID: c.ID, Health: startsHealthy(c), After: after})
	})
	return plan
}

// AwaitUp plans to wait, after all that the plan has so far, until containers are
// up, and healthy if they have a check.
func (p *Plan) AwaitUp(list []engine.Container) {
	before := len(p.Steps)
	for _, c := range list {
		var after []int
		for i, s := range p.Steps[:before] {
			if s.Op == OpStart && s.ID == c.ID {
				after = append(after, i)
			}
		}
		p.add(Step{Op: OpUp, Object: c.Name, ID: c.ID, After: after})
	}
}

// PlanRestart plans to restart containers, each after those that it depends on.
func PlanRestart(project string, list []engine.Container, opt engine.StopOptions) *Plan {
	plan := &Plan{Project: project}
	plan.inOrder(list, func(c engine.Container, after []int) int {
		return plan.add(Step{Op: OpRestart, Object: c.Name, ID: c.ID, Health: startsHealthy(c), Stop: opt, After: after})
	})
	return plan
}

// inOrder calls do for each container after those that it depends on, with
// their steps; it returns its own, or -1 if there is none.
func (p *Plan) inOrder(list []engine.Container, do func(c engine.Container, after []int) int) {
	done := map[string][]int{}
	for _, c := range slices.Backward(dependentsFirst(list)) {
		var after []int
		for _, d := range dependenciesOf(c) {
			if d.service == serviceOf(c) {
				continue
			}
			after = append(after, done[d.service]...)
			if d.condition != "service_completed_successfully" {
				continue
			}
			for _, other := range list {
				if serviceOf(other) == d.service && len(done[d.service]) > 0 {
					after = append(after, p.add(Step{Op: OpExited, Object: other.Name, ID: other.ID, After: done[d.service]}))
				}
			}
		}
		if step := do(c, after); step >= 0 {
			done[serviceOf(c)] = append(done[serviceOf(c)], step)
		}
	}
}

// AlongWith returns list and, of all containers of its project, those that depend on
// one of them with "restart: true" and run.
func AlongWith(list, all []engine.Container) []engine.Container {
	out := slices.Clone(list)
	for i := 0; i < len(out); i++ { // what is found is looked at as well
		for _, c := range all {
			along := slices.ContainsFunc(dependenciesOf(c), func(d dependency) bool { return d.restart && d.service == serviceOf(out[i]) })
			if along && isUp(c) && !isOneOff(c) && !slices.ContainsFunc(out, func(have engine.Container) bool { return have.ID == c.ID }) {
				out = append(out, c)
			}
		}
	}
	return out
}

// PlanEach plans one call for each container, independent of each other. Those
// that are not in a state for it are left out.
func PlanEach(project string, op Op, list []engine.Container, step Step) *Plan {
	plan := &Plan{Project: project}
	for _, c := range list {
		if !fits(op, c) {
			continue
		}
		step.Op, step.Object, step.ID = op, c.Name, c.ID
		plan.add(step)
	}
	return plan
}

func fits(op Op, c engine.Container) bool {
	switch op {
	case OpKill:
		return c.Status == engine.StatusRunning || c.Status == engine.StatusPaused
	case OpPause:
		return c.Status == engine.StatusRunning
	case OpUnpause:
		return c.Status == engine.StatusPaused
	case OpRemove:
		return !isUp(c)
	}
	return true
}

// ProjectOf returns the name of the project that a container is of.
func ProjectOf(c engine.Container) string { return c.Labels[labelProject] }

// ServiceOf returns the service that a container is of.
func ServiceOf(c engine.Container) string { return serviceOf(c) }

// NumberOf returns the number of a container within its service.
func NumberOf(c engine.Container) int { return numberOf(c) }

// FilesOf returns the files that a container's project was made of.
func FilesOf(c engine.Container) string { return c.Labels[labelFiles] }
