package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/moby/term"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

// redrawEvery is how often the bars are drawn at most.
const redrawEvery = 100 * time.Millisecond

// The phases of a layer, in Docker's words: engine.PullEvent's Phase prints so.
const (
	phaseWaiting     = "Waiting"
	phaseDownloading = "Downloading"
	phaseExtracting  = "Extracting"
	phasePushing     = "Pushing"
)

// progress shows how the layers of an image arrive: a bar for each on a
// terminal, a line for each step elsewhere, nothing if it is quiet.
//
// It is drawn by hand, because the library for it costs every command, also
// those that show none, 0.25 ms at their start.
type progress struct {
	w     io.Writer
	quiet bool
	fd    uintptr
	bars  bool

	mu     sync.Mutex
	layers []*layerProgress // in the order in which they were met
	drawn  int              // lines on the screen
	last   time.Time        // of the last drawing
}

// layerProgress is what is known of one layer.
type layerProgress struct {
	id             string
	phase          string
	current, total int64
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet}
	p.fd, p.bars = terminalFd(w)
	return p
}

// event takes in what the engine tells. It is safe for concurrent use.
func (p *progress) event(e engine.PullEvent) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.layer(e.Layer.Short())
	phase := e.Phase.String()
	if e.From != "" {
		phase += " from " + e.From
	}
	before := l.phase
	l.phase, l.current, l.total = phase, e.Current, max(e.Total, l.total)
	if p.bars {
		if now := time.Now(); now.Sub(p.last) >= redrawEvery {
			p.last = now
			p.draw()
		}
		return
	}
	if line := plainPhase(before, phase); line != "" {
		fmt.Fprintf(p.w, "%s: %s\n", l.id, line)
	}
}

// layer returns the record of a layer, a new one at first.
func (p *progress) layer(id string) *layerProgress {
	for _, l := range p.layers {
		if l.id == id {
			return l
		}
	}
	l := &layerProgress{id: id}
	p.layers = append(p.layers, l)
	return l
}

// plainPhase is what a line says of a new phase, "" if it is worth none:
// downloading and extracting go on at the same time.
func plainPhase(before, phase string) string {
	working := func(s string) bool {
		return s == phaseWaiting || s == phaseDownloading || s == phaseExtracting
	}
	switch {
	case before == phase || phase == phasePushing || working(before) && working(phase):
		return ""
	case working(phase):
		return "Pulling fs layer"
	}
	return phase
}

// close draws the last state.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars && !p.quiet {
		p.draw()
	}
}

// draw writes a line for each layer over the lines that are there.
func (p *progress) draw() {
	width := 80
	if size, err := term.GetWinsize(p.fd); err == nil && size.Width > 0 {
		width = int(size.Width)
	}
	var out bytes.Buffer
	if p.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", p.drawn)
	}
	for _, l := range p.layers {
		line := l.String()
		if len(line) >= width {
			line = line[:width-1]
		}
		out.WriteString("\r\x1b[2K" + line + "\n")
	}
	p.drawn = len(p.layers)
	_, _ = p.w.Write(out.Bytes()) // a terminal that is gone ends the pull in other ways
}

// barWidth is the number of characters in a full bar.
const barWidth = 50

// String is the line of a layer on a terminal.
func (l *layerProgress) String() string {
	if l.phase != phaseDownloading && l.phase != phaseExtracting && l.phase != phasePushing || l.total <= 0 {
		return l.id + ": " + l.phase
	}
	full := int(barWidth * min(l.current, l.total) / l.total)
	bar := strings.Repeat("=", full) + ">" + strings.Repeat(" ", barWidth-full)
	return fmt.Sprintf("%s: %-11s [%s] %s/%s", l.id, l.phase, bar[:barWidth], format.Size(l.current), format.Size(l.total))
}
