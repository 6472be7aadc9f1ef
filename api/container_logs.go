package api

import (
	"bufio"
	"io"
	"net/http"
	"strconv"

	"github.com/cleat-project/cleat/engine"
)

// containerLogs streams a container's output.
func (s *Server) containerLogs(w http.ResponseWriter, r *request) error {
	stdout, stderr := r.flag("stdout"), r.flag("stderr")
	if !stdout && !stderr {
		return invalid("you must choose at least one stream")
	}
	c, err := s.eng.Get(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	opt, err := r.logOptions()
	if err != nil {
		return err
	}
	p := &logPrinter{timestamps: r.flag("timestamps"), details: opt.Details}
	var body io.Writer
	var buffered *bufio.Writer
	begin := func() {
		body = beginStream(w, mediaTypeOf(c.Process.TTY, r.version))
		if !opt.Follow {
			buffered = bufio.NewWriterSize(w, 64<<10)
			body = buffered
		}
		p.to(body, c.Process.TTY, stdout, stderr)
	}
	if opt.Follow {
		begin()
	}
	for line, err := range s.eng.Logs(r.Context(), c.ID, opt) {
		if err != nil {
			return err
		}
		if body == nil {
			begin()
		}
		if err := p.print(line); err != nil {
			return nil // the client is gone
		}
	}
	if body == nil {
		begin()
	}
	if buffered != nil {
		_ = buffered.Flush() // a client that is gone does not mind
	}
	return nil
}

// logOptions reads what part of the output is wanted.
func (r *request) logOptions() (opt engine.LogOptions, err error) {
	opt.Follow, opt.Details, opt.Tail = r.flag("follow"), r.flag("details"), -1
	if n, err := strconv.Atoi(r.query.Get("tail")); err == nil && n >= 0 {
		opt.Tail = n // what is no number means all, as in Docker
	}
	if opt.Since, err = r.instant("since"); err != nil {
		return opt, err
	}
	opt.Until, err = r.instant("until")
	return opt, err
}

// logPrinter writes lines of output in Docker's form.
type logPrinter struct {
	stdout, stderr      io.Writer // nil if not wanted
	timestamps, details bool

	partial [2]bool // whether the last line of a stream goes on
	buf     []byte
}

// to sets where the lines go.
func (p *logPrinter) to(w io.Writer, tty, stdout, stderr bool) {
	out, errOut := w, w
	if !tty {
		out, errOut = newFrames(w)
	}
	if stdout {
		p.stdout = out
	}
	if stderr {
		p.stderr = errOut
	}
}

func (p *logPrinter) print(line engine.LogLine) error {
	w, stream := p.stdout, 0
	if line.Stderr {
		w, stream = p.stderr, 1
	}
	if w == nil {
		return nil
	}
	p.buf = p.buf[:0]
	if !p.partial[stream] {
		p.prefix(line)
	}
	p.partial[stream] = line.Partial
	p.buf = append(p.buf, line.Message...)
	if !line.Partial {
		p.buf = append(p.buf, '\n')
	}
	_, err := w.Write(p.buf)
	return err
}

// prefix adds what comes before a line's text.
func (p *logPrinter) prefix(line engine.LogLine) {
	if p.timestamps {
		p.buf = append(line.Time.UTC().AppendFormat(p.buf, "2006-01-02T15:04:05.000000000Z07:00"), ' ')
	}
	if !p.details {
		return
	}
	for i, a := range line.Attrs {
		if i > 0 {
			p.buf = append(p.buf, ',')
		}
		p.buf = append(p.buf, a.Name+"="+a.Value...)
	}
	p.buf = append(p.buf, ' ')
}
