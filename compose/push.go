package compose

// PlanPush plans to push the images that active services are built as: others come
// from where they would go. If ignore is set, one that cannot be pushed is only told
// of.
func PlanPush(p *Project, ignore bool) *Plan {
	plan := &Plan{Project: p.Name()}
	seen := map[string]bool{}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		if s.Build == nil {
			continue
		}
		if s.Image == "" {
			plan.warnf("service %q has no image to be pushed as: it needs the key \"image\"", name)
			continue
		}
		for _, ref := range append([]string{s.Image}, s.Build.Tags...) {
			if !seen[ref] {
				plan.add(Step{Op: OpPush, Object: ref, Soft: ignore})
			}
			seen[ref] = true
		}
	}
	if plan.Empty() && len(plan.Warnings) == 0 {
		plan.warnf("no service is built here, so there is no image to push")
	}
	return plan
}
