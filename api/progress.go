package api

import (
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/cleat-project/cleat/engine"
)

// progressLine is one line of how a pull or a push goes.
type progressLine struct {
	Stream   string               `json:"stream,omitempty"`
	Status   string               `json:"status,omitempty"`
	Progress *jsonstream.Progress `json:"progressDetail,omitempty"`
	ID       string               `json:"id,omitempty"`
	Error    *jsonstream.Error    `json:"errorDetail,omitempty"`
	Text     string               `json:"error,omitempty"` // of Error, as older clients want it
	Aux      any                  `json:"aux,omitempty"`
}

// progress streams how layers arrive or leave. Those who work do not wait for a
// client that reads slowly: of what is not sent yet, a later word on the same
// phase of a layer replaces an earlier one.
type progress struct {
	out func() *flushing // begins the answer with the first line

	mu      sync.Mutex
	waiting []progressLine
	began   bool
	more    chan struct{} // has one element while there may be lines

	stop   chan struct{}
	writer sync.WaitGroup
}

func newProgress(w http.ResponseWriter) *progress {
	p := &progress{more: make(chan struct{}, 1), stop: make(chan struct{})}
	p.out = sync.OnceValue(func() *flushing { return beginStream(w, "application/json") })
	p.writer.Go(p.write)
	return p
}

// write sends lines until the progress is closed and all are sent.
func (p *progress) write() {
	for {
		last := false
		select {
		case <-p.more:
		case <-p.stop:
			last = true
		}
		p.mu.Lock()
		lines := p.waiting
		p.waiting = nil
		p.mu.Unlock()
		for _, line := range lines {
			_ = writeLine(p.out(), line) // the request ends with its client
		}
		if last {
			return
		}
	}
}

// event takes in what the engine tells. It is safe for concurrent use.
func (p *progress) event(e engine.PullEvent) {
	line := progressLine{ID: e.Layer.Short(), Status: e.Phase.String(), Progress: &jsonstream.Progress{}}
	if e.From != "" {
		line.Status += " from " + e.From
	}
	switch line.Status {
	case "Downloading", "Extracting", "Pushing":
		line.Progress.Current, line.Progress.Total = e.Current, e.Total
	case "Waiting":
		line.Status = "Pulling fs layer"
	}
	p.announce(line)
}

// say sends a line of text.
func (p *progress) say(text string) { p.announce(progressLine{Status: text}) }

// announce queues a line.
func (p *progress) announce(line progressLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = true
	if !p.replace(line) {
		p.waiting = append(p.waiting, line)
	}
	select {
	case p.more <- struct{}{}:
	default: // it is there already
	}
}

// replace puts a line in the place of an earlier one that it makes void.
func (p *progress) replace(line progressLine) bool {
	if line.ID == "" || line.Progress == nil {
		return false
	}
	for i := len(p.waiting) - 1; i >= 0; i-- {
		if p.waiting[i].ID == line.ID {
			if p.waiting[i].Status != line.Status {
				return false
			}
			p.waiting[i] = line
			return true
		}
	}
	return false
}

// fail tells of an error in the stream, if that has begun; else it returns it.
func (p *progress) fail(err error) error {
	p.mu.Lock()
	began := p.began
	p.mu.Unlock()
	if !began {
		return err
	}
	text := message(err)
	p.announce(progressLine{Error: &jsonstream.Error{Code: status(err), Message: text}, Text: text})
	return nil
}

// close sends what is left. It is called once.
func (p *progress) close() {
	close(p.stop)
	p.writer.Wait()
}
