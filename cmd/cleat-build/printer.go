package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/internal/buildflags"
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
}

// keepLines is how many lines of a command are repeated when it fails.
const keepLines = 20

func newPrinter(f *buildflags.Flags, w io.Writer) (*printer, error) {
	p := &printer{w: w, quiet: f.Quiet, steps: map[int]*shown{}}
	switch f.Progress {
	case "auto", "plain", "tty":
		if f.Progress == "tty" {
			return nil, fmt.Errorf("--progress tty is not supported: want auto, plain or quiet")
		}
	case "quiet":
		p.quiet = true
	default:
		return nil, fmt.Errorf("--progress %q: want auto, plain or quiet", f.Progress)
	}
	return p, nil
}

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
	p.turn(e.Step, s, e.Phase)
	switch e.Phase {
	case build.Log:
		p.output(e, s)
	case build.Cached:
		p.line(e.Step, "CACHED")
	case build.Done:
		p.flush(e, s)
		p.line(e.Step, fmt.Sprintf("DONE %.1fs", e.After.Seconds()))
	case build.Failed:
		p.flush(e, s)
		p.line(e.Step, "ERROR: "+e.Err.Error())
	case build.Started, build.Note, build.Warning:
	}
}

// aside shows what is not about a step.
func (p *printer) aside(e build.Event) {
	switch {
	case e.Phase == build.Warning:
		fmt.Fprintln(p.w, "[Warning] "+e.Text)
	case !p.quiet:
		fmt.Fprintln(p.w, e.Text)
	}
}

// turn shows the title of a step when it is another's turn.
func (p *printer) turn(step int, s *shown, phase build.Phase) {
	if p.last == step || p.quiet {
		return
	}
	if p.last != 0 {
		fmt.Fprintln(p.w)
	}
	p.last = step
	if phase == build.Started || phase == build.Cached || phase == build.Log {
		fmt.Fprintln(p.w, number(step)+" "+s.title)
		return
	}
	fmt.Fprintln(p.w, number(step)+" "+s.title)
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
	text = printable(strings.TrimSuffix(text, "\r"))
	if s.lines = append(s.lines, fmt.Sprintf("%.3f %s", e.After.Seconds(), text)); len(s.lines) > keepLines {
		s.lines = s.lines[1:]
	}
	p.line(e.Step, fmt.Sprintf("%.3f %s", e.After.Seconds(), text))
}

// printable keeps a command of the build from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != 0x1b || r == 0x7f {
			return -1
		}
		if r == 0x1b {
			return -1
		}
		return r
	}, s)
}

func (p *printer) flush(e build.Event, s *shown) {
	if len(s.partial) > 0 {
		p.outputLine(e, s, string(s.partial))
		s.partial = nil
	}
	if e.Phase == build.Failed && len(s.lines) > 0 {
		s.title += ":"
	}
}

// close repeats what the step has said that the build failed with.
func (p *printer) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		return
	}
	for _, s := range p.steps {
		if strings.HasSuffix(s.title, ":") && len(s.lines) > 0 {
			fmt.Fprintf(p.w, "------\n > %s\n%s\n------\n", s.title, strings.Join(s.lines, "\n"))
		}
	}
}
