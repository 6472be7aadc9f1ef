package build

import (
	"context"
	"sync"
	"time"

	"github.com/cleat-project/cleat/engine"
)

// Phase is what an Event tells.
type Phase int

// The phases of a step, in their order, and what is not of any step.
const (
	Started Phase = iota
	Log           // output of its command
	Status        // a part of it is done
	Cached        // it need not be done
	Done
	Failed
	Canceled // given up because of something else
	Note     // for the user to know
	Warning  // the same, more urgently

	// Of a build with Options.Sequential.
	Instruction // one begins: Text, the Number-th of Total
	Running     // its command runs in the container ID
	Made        // it is done: what there is now goes by ID, "" if that is nothing; Reused if the cache had it
	Triggers    // Total instructions of the base image follow, as parts of the one under way
)

// Event tells how far a build has come.
type Event struct {
	Step  int // from 1 on, in the order in which steps begin; 0 if it is about none
	Title string
	Phase Phase
	Text  string // of Log, Status, Note and Warning
	Err   error  // of Failed
	After time.Duration

	Stderr bool // Log: it was written there

	Number, Total int
	ID            string
	Reused        bool
	Part          bool // Made: it was one of Triggers, and not the last one
}

// progress hands on events.
type progress struct {
	mu   sync.Mutex
	last int
	send func(Event)
}

func newProgress(send func(Event)) *progress {
	if send == nil {
		send = func(Event) {}
	}
	return &progress{send: send}
}

func (p *progress) warn(text string) { p.send(Event{Phase: Warning, Text: text}) }
func (p *progress) note(text string) { p.send(Event{Phase: Note, Text: text}) }

// vertex is one step that is told of.
type vertex struct {
	p     *progress
	id    int
	title string
	begun time.Time
	once  sync.Once
}

// begin makes a step, which gets its number when there is something to tell.
func (p *progress) begin(title string) *vertex { return &vertex{p: p, title: title} }

func (v *vertex) start() {
	v.once.Do(func() {
		v.p.mu.Lock()
		v.p.last++
		v.id = v.p.last
		v.p.mu.Unlock()
		v.begun = time.Now()
		v.tell(Event{Phase: Started})
	})
}

func (v *vertex) tell(e Event) {
	e.Step, e.Title, e.After = v.id, v.title, time.Since(v.begun)
	v.p.send(e)
}

func (v *vertex) log(text string) {
	v.start()
	v.tell(Event{Phase: Log, Text: text})
}

// status tells of a part that is done.
func (v *vertex) status(text string) {
	v.start()
	v.tell(Event{Phase: Status, Text: text})
}

func (v *vertex) cached() {
	v.start()
	v.tell(Event{Phase: Cached})
}

func (v *vertex) end(err error) {
	v.start()
	if err != nil {
		v.tell(Event{Phase: Failed, Err: err})
		return
	}
	v.tell(Event{Phase: Done})
}

// stop ends a step with an error, which is another's if ctx has ended before.
func (v *vertex) stop(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		v.end(err)
		return err
	}
	v.start()
	v.tell(Event{Phase: Canceled})
	return err
}

// pull tells of an image that is fetched.
func (v *vertex) pull(e engine.PullEvent) {
	if text := e.Phase.String(); text == "Already exists" || text == "Pull complete" || text == "Pushed" || text == "Layer already exists" {
		v.status(e.Layer.Short() + " " + text)
	}
}

// Write implements io.Writer for the output of a command.
func (v *vertex) Write(data []byte) (int, error) {
	v.log(string(data))
	return len(data), nil
}
