package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cleat-project/cleat/build"
)

// printer shows how a build goes, in the form of BuildKit's plain progress.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	quiet bool
	last  int // step that was shown last
	steps map[int]*shown
}

// shown is a step that has been shown.
type shown struct {
	partial []byte   // an unfinished line
	lines   []string // the last ones, for when it fails
	title   string
	ended   bool
	failed  bool
}

// keepLines is how many lines of a command are repeated when it fails.
const keepLines = 20

func newPrinter(w io.Writer) *printer { return &printer{w: w, steps: map[int]*shown{}} }

// event shows one event.
func (p *printer) event(e build.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Step == 0 {
		p.aside(e)
		return
	}
	s := p.steps[e.Step]
	if s == nil {
		s = &shown{title: e.Title}
		p.steps[e.Step] = s
	}
	p.turn(e.Step, s)
	switch e.Phase {
	case build.Log:
		p.output(e, s)
	case build.Status:
		p.line(e.Step, printable(strings.TrimSpace(e.Text))+" done")
	case build.Cached:
		s.ended = true
		p.line(e.Step, "CACHED")
	case build.Done:
		p.flush(e, s)
		s.ended = true
		p.line(e.Step, "DONE "+seconds(e.After))
	case build.Failed:
		p.flush(e, s)
		s.ended = true
		p.line(e.Step, "ERROR: "+e.Err.Error())
	case build.Canceled:
		p.flush(e, s)
		s.ended = true
		p.line(e.Step, "CANCELED")
	case build.Started, build.Note, build.Warning:
	}
}

// aside shows what is not about a step.
func (p *printer) aside(e build.Event) {
	switch {
	case e.Phase == build.Warning:
		fmt.Fprintln(p.w, "[Warning] "+printable(e.Text))
	case !p.quiet:
		fmt.Fprintln(p.w, printable(e.Text))
	}
}

// turn shows the title of a step when it is another's turn.
func (p *printer) turn(step int, s *shown) {
	if p.last == step || p.quiet {
		return
	}
	if before := p.steps[p.last]; before != nil {
		if !before.ended {
			fmt.Fprintln(p.w, number(p.last)+" ...")
		}
		fmt.Fprintln(p.w)
	}
	p.last = step
	fmt.Fprintln(p.w, number(step)+" "+printable(s.title))
}

func (p *printer) line(step int, text string) {
	if !p.quiet {
		fmt.Fprintln(p.w, number(step)+" "+text)
	}
}

// output shows whole lines, each with the time since the step began.
func (p *printer) output(e build.Event, s *shown) {
	s.partial = append(s.partial, e.Text...)
	for {
		i := bytes.IndexByte(s.partial, '\n')
		if i < 0 {
			return
		}
		p.outputLine(e, s, string(s.partial[:i]))
		s.partial = s.partial[i+1:]
	}
}

func (p *printer) outputLine(e build.Event, s *shown, text string) {
	text = printable(lastOf(text))
	if s.lines = append(s.lines, fmt.Sprintf("%.3f %s", e.After.Seconds(), text)); len(s.lines) > keepLines {
		s.lines = s.lines[1:]
	}
	p.line(e.Step, fmt.Sprintf("%.3f %s", e.After.Seconds(), text))
}

func (p *printer) flush(e build.Event, s *shown) {
	if len(s.partial) > 0 {
		p.outputLine(e, s, string(s.partial))
		s.partial = nil
	}
	s.failed = e.Phase == build.Failed
}

// close repeats what the step has said that the build failed with.
func (p *printer) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		return
	}
	for _, s := range p.steps {
		if s.failed && len(s.lines) > 0 {
			fmt.Fprintf(p.w, "------\n > %s:\n%s\n------\n", printable(s.title), strings.Join(s.lines, "\n"))
		}
	}
}
