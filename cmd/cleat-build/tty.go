package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cleat-project/cleat/build"
)

// redrawEvery is how often the screen is drawn while something runs.
const redrawEvery = 100 * time.Millisecond

// windowLines is how much of the output of a running step is shown.
const windowLines = 6

// display shows a build on a terminal as BuildKit does: a line for each step, drawn
// over and over, and below a running one the last lines of what it says.
type display struct {
	w     io.Writer
	size  func() (rows, columns int)
	now   func() time.Time
	begun time.Time
	color bool

	mu     sync.Mutex
	steps  []*shownStep // in the order of their numbers
	asides []string
	drawn  int // lines on the screen
	last   time.Time
	closed bool
	stop   chan struct{}
	ended  sync.WaitGroup
}

// shownStep is a step with what is shown of it.
type shownStep struct {
	title   string
	begun   time.Time
	took    time.Duration // once it has ended
	phase   build.Phase
	status  []string
	said    []string // the last lines of its output, with times
	partial []byte
}

func (s *shownStep) running() bool {
	return s.phase == build.Started || s.phase == build.Log || s.phase == build.Status
}

func newDisplay(w io.Writer, size func() (rows, columns int)) *display {
	d := &display{w: w, size: size, now: time.Now, begun: time.Now(), color: os.Getenv("NO_COLOR") == "", stop: make(chan struct{})}
	d.ended.Go(d.tick)
	return d
}

// tick draws again for the sake of the clocks.
func (d *display) tick() {
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.mu.Lock()
			if d.now().Sub(d.last) >= redrawEvery {
				d.draw(false)
			}
			d.mu.Unlock()
		case <-d.stop:
			return
		}
	}
}

// event implements shower.
func (d *display) event(e build.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Step == 0 {
		if d.asides = append(d.asides, printable(e.Text)); d.closed {
			fmt.Fprintln(d.w, " - "+printable(e.Text))
		}
		return
	}
	for len(d.steps) < e.Step {
		d.steps = append(d.steps, &shownStep{begun: d.now()})
	}
	s := d.steps[e.Step-1]
	s.title = printable(e.Title)
	switch e.Phase {
	case build.Log:
		s.write(e)
	case build.Status:
		s.status = append(s.status, printable(strings.TrimSpace(e.Text)))
	case build.Started, build.Cached, build.Done, build.Failed, build.Canceled, build.Note, build.Warning:
		s.phase, s.took = e.Phase, e.After
	}
	if d.now().Sub(d.last) >= redrawEvery {
		d.draw(false)
	}
}

// write takes in output of the step's command.
func (s *shownStep) write(e build.Event) {
	s.partial = append(s.partial, e.Text...)
	for {
		i := bytes.IndexByte(s.partial, '\n')
		if i < 0 {
			return
		}
		line := printable(lastOf(string(s.partial[:i])))
		s.said = append(s.said, fmt.Sprintf("%.3f %s", e.After.Seconds(), line))
		s.said = s.said[max(len(s.said)-keepLines, 0):]
		s.partial = append([]byte{}, s.partial[i+1:]...)
	}
}

// window returns the lines that are shown below a running step.
func (s *shownStep) window() []string {
	var lines []string
	for _, line := range s.said[max(len(s.said)-windowLines, 0):] {
		_, text, _ := strings.Cut(line, " ")
		lines = append(lines, text)
	}
	if text := printable(lastOf(string(s.partial))); text != "" {
		lines = append(lines, text)
	}
	return lines[max(len(lines)-windowLines, 0):]
}

// close implements shower.
func (d *display) close(err error) {
	close(d.stop)
	d.ended.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, s := range d.steps {
		if s.running() {
			s.phase, s.took = build.Canceled, d.now().Sub(s.begun)
		}
	}
	d.draw(true)
	for i, text := range d.asides {
		if i == 0 {
			fmt.Fprintln(d.w)
		}
		fmt.Fprintln(d.w, " - "+text)
	}
	if err == nil {
		return
	}
	for _, s := range d.steps {
		if s.phase == build.Failed && len(s.said) > 0 {
			fmt.Fprintf(d.w, "------\n > %s:\n%s\n------\n", s.title, strings.Join(s.said, "\n"))
		}
	}
}

// draw writes everything over what was drawn before. The last drawing has all steps;
// those before only what fits on the screen, in which steps that have ended make
// room for those that run.
func (d *display) draw(all bool) {
	if len(d.steps) == 0 {
		return
	}
	d.last = d.now()
	rows, columns := d.size()
	lines := []string{d.head(all, columns)}
	lines = append(lines, d.body(all, rows-2, columns)...)
	var b bytes.Buffer
	b.WriteString("\x1b[?25l")
	if d.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", d.drawn)
	}
	b.WriteString("\r")
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J\x1b[?25h")
	d.drawn = len(lines)
	_, _ = d.w.Write(b.Bytes()) // the build goes on without a terminal
}

func (d *display) head(all bool, columns int) string {
	done, failed := 0, false
	for _, s := range d.steps {
		failed = failed || s.phase == build.Failed || s.phase == build.Canceled
		if s.phase == build.Done || s.phase == build.Cached {
			done++
		}
	}
	text := fmt.Sprintf("[+] Building %s (%d/%d)", seconds(d.now().Sub(d.begun)), done, len(d.steps))
	if all && !failed {
		text += " FINISHED"
	}
	return fit(text, columns)
}

// body returns the lines of the steps, at most room of them unless all are wanted.
func (d *display) body(all bool, room, columns int) []string {
	blocks := make([][]string, len(d.steps))
	total := 0
	for i, s := range d.steps {
		blocks[i] = d.block(s, columns)
		total += len(blocks[i])
	}
	for i, s := range d.steps { // the oldest first
		if all || total <= room {
			break
		}
		if !s.running() {
			total -= len(blocks[i])
			blocks[i] = nil
		}
	}
	var lines []string
	for _, b := range blocks {
		lines = append(lines, b...)
	}
	if !all && len(lines) > room {
		lines = lines[len(lines)-max(room, 0):]
	}
	return lines
}

// block returns the lines of one step.
func (d *display) block(s *shownStep, columns int) []string {
	mark, color := "", ""
	took := s.took
	switch s.phase {
	case build.Cached:
		mark, color, took = "CACHED ", "34", 0
	case build.Done:
		color = "34"
	case build.Failed:
		mark, color = "ERROR ", "31"
	case build.Canceled:
		mark, color = "CANCELED ", "33"
	default:
		took = d.now().Sub(s.begun)
	}
	lines := []string{d.line(" => "+mark+s.title, seconds(took), color, columns)}
	for _, text := range s.status {
		lines = append(lines, d.line(" => => "+text, seconds(took), color, columns))
	}
	if s.running() {
		for _, text := range s.window() {
			lines = append(lines, d.line(" => => # "+text, "", "2", columns))
		}
	}
	return lines
}

// line puts a time at the right end of the screen, and cuts what does not fit.
func (d *display) line(left, right, color string, columns int) string {
	left = strings.ReplaceAll(left, "\t", "  ")
	room := columns - len(right) - 2
	left = fit(left, room)
	text := left
	if right != "" {
		text += strings.Repeat(" ", max(room-utf8.RuneCountInString(left), 0)+1) + right
	}
	if d.color && color != "" {
		return "\x1b[" + color + "m" + text + "\x1b[0m"
	}
	return text
}

func fit(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	runes := []rune(s)
	if columns < 4 {
		return string(runes[:max(columns, 0)])
	}
	return string(runes[:columns-3]) + "..."
}
