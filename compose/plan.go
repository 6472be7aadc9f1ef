package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// Op is what a step does. The text is what --dry-run shows.
type Op string

// The kinds of step, each one engine call.
const (
	OpSlice         Op = "limit slice"
	OpPull          Op = "pull image"
	OpPush          Op = "push image"
	OpCreateNetwork Op = "create network"
	OpCreateVolume  Op = "create volume"
	OpCreate        Op = "create"
	OpCopy          Op = "write files into"
	OpRename        Op = "rename"
	OpStart         Op = "start"
	OpRestart       Op = "restart"
	OpStop          Op = "stop"
	OpKill          Op = "kill"
	OpPause         Op = "pause"
	OpUnpause       Op = "unpause"
	OpRemove        Op = "remove"
	OpExited        Op = "wait for the exit of"
	OpHealthy       Op = "wait for the health of"
	OpUp            Op = "wait until it is up:"
	OpHook          Op = "run hook in"
	OpRemoveNetwork Op = "remove network"
	OpRemoveVolume  Op = "remove volume"
	OpRemoveImage   Op = "remove image"
	OpFreeSlice     Op = "free slice"
)

// Step is one call of the engine, as data.
type Step struct {
	Op     Op
	Object string // the name of what it is done to, as it is called by then
	ID     string // of a container that exists already; steps refer to others by name
	To     string // OpRename: the new name
	Why    string // for people
	After  []int  // the steps that have to succeed first, by index

	Create  *engine.CreateOptions
	Network *engine.NetworkCreateOptions
	Volume  *engine.CreateVolumeOptions
	Slice   *engine.SliceOptions
	Stop    engine.StopOptions
	Remove  engine.RemoveOptions
	Signal  string // OpKill
	Files   []injected
	Hook    *engine.ExecOptions
	Health  bool // OpStart, OpRestart: the container's unit has started only once it is healthy
	Soft    bool // failing is said and does not count

	// Back are the calls, one after the other, that take the steps before this one
	// back if it fails: a container that was replaced comes back.
	Back []Step
}

// ref is how the engine is asked for the container of a step.
func (s Step) ref() string { return cmp.Or(s.ID, s.Object) }

// Plan is a list of engine calls. A step comes after those that it waits for.
type Plan struct {
	Project  string
	Steps    []Step
	Warnings []string
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// add appends a step and returns its index.
func (p *Plan) add(s Step) int {
	s.After = slices.DeleteFunc(slices.Clone(s.After), func(i int) bool { return i < 0 })
	slices.Sort(s.After)
	s.After = slices.Compact(s.After)
	p.Steps = append(p.Steps, s)
	return len(p.Steps) - 1
}

func (p *Plan) warnf(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// String is the plan for people: a line for each call, with the numbers of those
// that it waits for.
func (p *Plan) String() string {
	if p.Empty() {
		return "nothing to do\n"
	}
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%3d. %s", i+1, s)
		if len(s.After) > 0 {
			after := make([]string, len(s.After))
			for k, n := range s.After {
				after[k] = fmt.Sprint(n + 1)
			}
			fmt.Fprintf(&b, " [after %s]", strings.Join(after, ", "))
		}
		b.WriteByte('\n')
		for _, back := range s.Back {
			fmt.Fprintf(&b, "       if that fails: %s\n", back)
		}
	}
	return b.String()
}

// String is the step as one line.
func (s Step) String() string {
	text := string(s.Op) + " " + s.Object
	if s.ID != "" {
		text += " (" + s.ID[:min(12, len(s.ID))] + ")"
	}
	if s.To != "" {
		text += " to " + s.To
	}
	if c := s.Create; c != nil {
		text += " from " + c.Image
		var nets []string
		for _, n := range c.Networks {
			nets = append(nets, n.Name)
		}
		if len(nets) > 0 {
			text += " on " + strings.Join(nets, ", ")
		}
	}
	if s.Why != "" {
		text += ": " + s.Why
	}
	return text
}

func cmpString(a, b string) int { return cmp.Compare(a, b) }

// cmpOr returns the first comparison that decides.
func cmpOr(list ...int) int { return cmp.Or(list...) }
