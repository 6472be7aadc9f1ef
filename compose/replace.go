package compose

import (
	"maps"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// replace plans a new container for number n of a service. The old one, if there
// is one, is kept until the new one runs, and comes back if that fails:
//
//	create the new one under a temporary name
//	stop the old one and take its name
//	start the new one under that name
//	remove the old one
//
// Wherever that is interrupted, the next "up" finds containers of the same
// number, and keeps the one that is as the project wants it. Cur is such a one,
// which was created before, or nil.
func (u *upper) replace(w *wanted, n int, cur *engine.Container, others []engine.Container) error {
	service, name := w.service.Name, u.p.containerName(w.service, n)
	old, leftovers := u.oldOf(name, others)
	u.fresh[service] = u.fresh[service] || n == 1 || old != nil
	temporary := name
	if old != nil || len(w.files) > 0 {
		temporary = u.temporaryName(name, old)
	}
	created := -1
	newID := ""
	if cur != nil {
		temporary, newID = cur.Name, cur.ID
	} else {
		created = u.create(w, n, temporary, old)
	}
	last := created
	for _, c := range leftovers {
		u.discard(c, "left over")
	}
	var back []Step
	if old != nil {
		last, back = u.retire(w, *old, temporary, newID, last)
	}
	if temporary != name {
		last = u.add(Step{Op: OpRename, Object: temporary, ID: newID, To: name, After: []int{last}, Back: slices.Clone(back)})
	}
	u.made[service] = append(u.made[service], last)
	if old != nil {
		back = append([]Step{{Op: OpRemove, Object: name, ID: newID, Remove: engine.RemoveOptions{Force: true}}}, back[1:]...)
	}
	if !u.opt.NoStart {
		last = u.add(Step{Op: OpStart, Object: name, ID: newID, Health: u.p.awaitedAtBoot(w), After: append([]int{last}, u.conditions(w)...), Back: back})
		u.started(w, name, last)
	}
	if old != nil {
		u.add(Step{Op: OpRemove, Object: retiredName(*old), ID: old.ID, Why: "replaced", After: []int{last}})
	}
	return nil
}

// oldOf returns the container that a new one takes the place of, and what else
// there is.
func (u *upper) oldOf(name string, others []engine.Container) (old *engine.Container, leftovers []engine.Container) {
	for i, c := range others {
		if old == nil && c.Name == name {
			old = &others[i]
			continue
		}
		leftovers = append(leftovers, c)
	}
	for i, c := range leftovers { // the last "up" was killed after it had taken the name
		if old == nil && isUp(c) || old == nil && !c.Run.StartedAt.IsZero() {
			old = &leftovers[i]
			return old, slices.Delete(slices.Clone(leftovers), i, i+1)
		}
	}
	return old, leftovers
}

// temporaryName is like that of Docker's compose: the name of a container that
// exists by then, behind the id of the one that is replaced.
func (u *upper) temporaryName(name string, old *engine.Container) string {
	prefix := "new"
	if old != nil {
		prefix = spec.ShortID(old.ID)
	}
	temporary := prefix + "_" + name
	for i := 2; slices.ContainsFunc(u.st.Containers, func(c engine.Container) bool { return c.Name == temporary }); i++ {
		temporary = prefix + "_" + strconv.Itoa(i) + "_" + name
	}
	return temporary
}

// retiredName is what a container is called once its name is another's.
func retiredName(old engine.Container) string { return spec.ShortID(old.ID) + "_old" }

// retire plans to stop an old container and to take its name, and returns how to
// take that back.
func (u *upper) retire(w *wanted, old engine.Container, temporary, newID string, after int) (last int, back []Step) {
	back = []Step{{Op: OpRemove, Object: temporary, ID: newID, Remove: engine.RemoveOptions{Force: true}}}
	last = after
	// One that has ended may have a unit that has not, when an "up" was killed while
	// it stopped: nobody else can be that unit before. Stopping then only waits.
	if isUp(old) || !old.Run.StartedAt.IsZero() {
		wait := []int{after}
		if !u.opt.NoStart { // it goes on until what its successor needs is there
			wait = append(wait, u.conditions(w)...)
		}
		last = u.add(Step{Op: OpStop, Object: old.Name, ID: old.ID, Stop: u.opt.Stop, Why: "to be replaced", After: wait})
	}
	again := []Step{}
	if isUp(old) {
		again = append(again, Step{Op: OpStart, Object: old.Name, ID: old.ID, Health: startsHealthy(old)})
	}
	if old.Name != retiredName(old) {
		last = u.add(Step{Op: OpRename, Object: old.Name, ID: old.ID, To: retiredName(old), After: []int{last}, Back: slices.Concat(back, again)})
	}
	back = append(back, Step{Op: OpRename, Object: retiredName(old), ID: old.ID, To: u.p.containerName(w.service, numberOf(old))})
	return last, append(back, again...)
}

// create plans to create number n of a service, and returns the step after which
// it is there with its files.
func (u *upper) create(w *wanted, n int, name string, old *engine.Container) int {
	service := w.service.Name
	opt := u.p.createOptions(w, n, name, old)
	if old != nil && !u.opt.RenewAnonVolumes {
		opt.Container.Mounts = inheritVolumes(opt.Container.Mounts, *old)
	}
	opt.Container.After = u.orderAfter(w)
	if u.p.awaitedAtBoot(w) {
		opt.Container.Notify = spec.NotifyHealthy
	}
	if u.opt.Pull == "never" {
		opt.Pull = engine.PullNever
	} else {
		opt.Pull = engine.PullMissing // what is newer has been fetched
	}
	after := slices.Clone(u.base)
	for _, other := range w.bound { // it has to find them by name
		after = append(after, u.made[other]...)
		if !u.opt.NoStart {
			after = append(after, u.ready[other]...)
		}
	}
	why := ""
	if old != nil {
		why = u.why(w, *old)
	}
	i := u.add(Step{Op: OpCreate, Object: name, Create: &opt, Why: why, After: after})
	if len(w.files) > 0 {
		i = u.add(Step{Op: OpCopy, Object: name, Files: w.files, After: []int{i}})
	}
	if name == u.p.containerName(w.service, n) {
		u.made[service] = append(u.made[service], i)
	}
	return i
}

// createOptions returns what to create as number n of a service.
func (p *Project) createOptions(w *wanted, n int, name string, old *engine.Container) engine.CreateOptions {
	opt := w.create
	opt.Container.Name = name
	opt.Container.Mounts = slices.Clone(opt.Container.Mounts)
	opt.Networks = slices.Clone(opt.Networks)
	labels := maps.Clone(opt.Container.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelProject], labels[labelService] = p.Name(), w.service.Name
	labels[labelNumber], labels[labelOneOff] = strconv.Itoa(n), "False"
	labels[labelHash], labels[labelCleatSource] = w.docker, w.hash
	labels[labelFiles], labels[labelDir] = p.configFiles(), p.model.WorkingDir
	labels[labelDependsOn], labels[labelVersion] = dependsOnLabel(w.depends), specVersion
	if old != nil {
		labels[labelReplace] = old.Name
	}
	opt.Container.Labels = labels
	return opt
}

// inheritVolumes lets a new container have the anonymous volumes of the one that
// it replaces, as in Docker.
func inheritVolumes(mounts []spec.Mount, old engine.Container) []spec.Mount {
	for _, m := range old.Mounts {
		if !m.Anonymous {
			continue
		}
		i := slices.IndexFunc(mounts, func(have spec.Mount) bool { return have.Target == m.Target })
		if i < 0 {
			mounts = append(mounts, m)
		} else if mounts[i].Type == spec.MountVolume && mounts[i].Source == "" {
			mounts[i].Source, mounts[i].Anonymous = m.Source, true
		}
	}
	return mounts
}

// awaitedAtBoot reports whether other services wait for the health of w when the
// machine boots: then its unit has started once it is healthy, and theirs come
// after it. It is not part of w's hash: a service is not replaced because another
// one has come to depend on it.
func (p *Project) awaitedAtBoot(w *wanted) bool {
	if !w.create.Container.Restart.Boot() {
		return false
	}
	for _, other := range p.model.Services {
		d, ok := other.DependsOn[w.service.Name]
		if !ok || d.Condition != types.ServiceConditionHealthy {
			continue
		}
		boots := &wanted{service: other}
		if p.restart(boots) == nil && boots.create.Container.Restart.Boot() {
			return true
		}
	}
	return false
}

// startsHealthy reports whether the unit of a container has started only once that
// is healthy.
func startsHealthy(c engine.Container) bool { return c.Notify == spec.NotifyHealthy }

// orderAfter returns the units after which systemd starts a container at boot,
// and before which it stops it at shutdown: those of its dependencies. They are
// not required: then systemd would stop a container whenever what it depends on
// is stopped or replaced, and restart it whenever that crashes. Docker does not.
func (u *upper) orderAfter(w *wanted) (units []string) {
	for _, d := range w.depends {
		s, active := u.p.model.Services[d.service]
		for n := 1; active && n <= u.scaleOf(d.service); n++ {
			units = append(units, spec.UnitOf(u.p.containerName(s, n)))
		}
	}
	return units
}
