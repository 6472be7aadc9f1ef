package build

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cleat-project/cleat/engine"
)

// CommandError says that the command of a RUN has failed.
type CommandError struct {
	Command string
	Err     *engine.ExitError
}

// Error implements error.
func (e *CommandError) Error() string {
	return fmt.Sprintf("process %q did not complete successfully: %v", e.Command, e.Err)
}

// Unwrap returns how the command ended.
func (e *CommandError) Unwrap() error { return e.Err }

// stderrOf tells what a command writes to stderr.
type stderrOf struct{ v *vertex }

// Write implements io.Writer.
func (w stderrOf) Write(data []byte) (int, error) {
	w.v.start()
	w.v.tell(Event{Phase: Log, Text: string(data), Stderr: true})
	return len(data), nil
}

// oneByOne makes all stages up to the target, see Options.Sequential.
func (b *builder) oneByOne(ctx context.Context) {
	for i := range b.file.args {
		b.tellInstruction(fmt.Sprint(&b.file.args[i]))
	}
	for i := range b.target + 1 {
		if _, err := b.wait(ctx, i); err != nil {
			return // the group has it
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b.opt.Labels)) {
		b.tellInstruction("LABEL " + k + "=" + b.opt.Labels[k])
		s := b.stages[b.target].state.clone() // finish adds them all
		s.reused = false
		b.tellMade(s, false)
	}
}

// instructions counts what tellInstruction will tell of.
func (b *builder) instructions() int {
	n := len(b.file.args) + len(b.opt.Labels)
	for _, st := range b.file.stages[:b.target+1] {
		n += 1 + len(st.Commands)
	}
	return n
}

func (b *builder) tellInstruction(text string) {
	if b.opt.Sequential {
		b.told++
		b.out.send(Event{Phase: Instruction, Text: text, Number: b.told, Total: b.instructions()})
	}
}

func (b *builder) tellRunning(id string) {
	if b.opt.Sequential {
		b.out.send(Event{Phase: Running, ID: id})
	}
}

// tellBase tells what a stage stands on, and how many instructions come with that.
func (b *builder) tellBase(s *state, triggers int) {
	switch {
	case b.opt.Sequential && triggers > 0:
		b.out.send(Event{Phase: Triggers, Total: triggers})
	case b.opt.Sequential:
		b.out.send(Event{Phase: Made, ID: s.id})
	}
}

// tellMade gives what an instruction has led to a name. Of all of them only the last
// one becomes an image, whose id is another.
func (b *builder) tellMade(s *state, part bool) {
	if b.opt.Sequential {
		s.id = keyOf("state", s.id, diffIDs(s.layers), s.config, s.args)
		b.out.send(Event{Phase: Made, ID: s.id, Reused: s.reused, Part: part})
	}
}

// pulling returns what takes the progress of a pull.
func (b *builder) pulling(ref string, v *vertex) func(engine.PullEvent) {
	if b.opt.Pulling == nil {
		return v.pull
	}
	return func(e engine.PullEvent) { b.opt.Pulling(ref, e) }
}

// credentials returns those for the registry of an image.
func (b *builder) credentials(ref string) engine.Credentials {
	name, err := engine.ParseReference(ref)
	if err != nil {
		return engine.Credentials{} // the pull tells
	}
	for _, c := range b.opt.Credentials {
		if c.Server == name.Domain() {
			return c
		}
	}
	return engine.Credentials{}
}
