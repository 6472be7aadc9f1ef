package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

type logger interface {
	Logs(ctx context.Context, ref string, opt engine.LogOptions) iter.Seq2[engine.LogLine, error]
}

// logsFlags are the flags of logs.
type logsFlags struct {
	follow, timestamps, details bool
	tail, since, until          string
}

func newLogs(c *cli) *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] CONTAINER", Short: "Fetch the logs of a container",
		Annotations: also("container logs", "logs"),
		Args:        exactly(1), ValidArgsFunction: completeContainers(c, nil),
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.details, "details", false, "Show extra details provided to logs")
	fs.BoolVarP(&f.follow, "follow", "f", false, "Follow log output")
	fs.StringVar(&f.since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	fs.StringVarP(&f.tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	fs.BoolVarP(&f.timestamps, "timestamps", "t", false, "Show timestamps")
	fs.StringVar(&f.until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := f.options(time.Now())
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.logs(cmd.Context(), eng, args[0], opt, f)
	}
	return cmd
}

func (f *logsFlags) options(now time.Time) (opt engine.LogOptions, err error) {
	opt.Follow, opt.Tail, opt.Details = f.follow, tailLines(f.tail), f.details
	if opt.Since, err = logTime(f.since, now); err != nil {
		return opt, fmt.Errorf("invalid value for \"since\": %w", err)
	}
	if opt.Until, err = logTime(f.until, now); err != nil {
		return opt, fmt.Errorf("invalid value for \"until\": %w", err)
	}
	return opt, nil
}

// tailLines reads --tail. What is no number means all, as in Docker.
func tailLines(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func logTime(s string, now time.Time) (time.Time, error) { return listing.Time(s, now) }

// logBuffer is big enough that a million lines are a few thousand writes.
const logBuffer = 64 << 10

// logs prints the lines of a container, each on the stream on which it was
// written. They are printed as they are, also what would drive a terminal, as in
// Docker.
func (c *cli) logs(ctx context.Context, eng logger, ref string, opt engine.LogOptions, f *logsFlags) error {
	p := newLogPrinter(c.out, c.err, f)
	defer p.stop()
	for line, err := range eng.Logs(ctx, ref, opt) {
		if err != nil {
			return errors.Join(p.flush(), err)
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
	return p.flush()
}

// showWithin is how long a line may wait in a buffer while logs are followed:
// long enough to batch a burst, too short to be noticed.
const showWithin = 20 * time.Millisecond

// logPrinter writes lines to two buffers, of which at most one is not empty: so
// that lines on the same terminal keep their order.
type logPrinter struct {
	flags   *logsFlags
	scratch []byte
	partial [2]bool // whether the last line on stdout, on stderr goes on

	mu       sync.Mutex // the timer flushes beside the caller
	out, err *bufio.Writer
	timer    *time.Timer // nil unless following
	armed    bool
	failed   error // of a flush by the timer
}

func newLogPrinter(out, err io.Writer, f *logsFlags) *logPrinter {
	p := &logPrinter{flags: f, out: bufio.NewWriterSize(out, logBuffer), err: bufio.NewWriterSize(err, logBuffer)}
	if f.follow {
		p.timer = time.AfterFunc(time.Hour, p.flushLate)
		p.timer.Stop()
	}
	return p
}

// stop ends the timer.
func (p *logPrinter) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *logPrinter) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.failed, p.flushBoth())
}

func (p *logPrinter) flushBoth() error { return errors.Join(p.out.Flush(), p.err.Flush()) }

// flushLate shows what has waited long enough.
func (p *logPrinter) flushLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.failed = errors.Join(p.failed, p.flushBoth())
}

func (p *logPrinter) print(line engine.LogLine) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, other, stream := p.out, p.err, 0
	if line.Stderr {
		w, other, stream = other, w, 1
	}
	if p.failed != nil {
		return p.failed
	}
	if other.Buffered() > 0 {
		if err := other.Flush(); err != nil {
			return err
		}
	}
	if !p.partial[stream] {
		p.prefix(w, line)
	}
	p.partial[stream] = line.Partial
	_, err := w.Write(line.Message)
	if err == nil && !line.Partial {
		err = w.WriteByte('\n')
	}
	if p.timer != nil && !p.armed {
		p.armed = true
		p.timer.Reset(showWithin)
	}
	return err
}

// prefix writes what comes before a line's text. The next write to w tells of
// its errors.
func (p *logPrinter) prefix(w *bufio.Writer, line engine.LogLine) {
	if p.flags.timestamps {
		p.scratch = append(line.Time.UTC().AppendFormat(p.scratch[:0], "2006-01-02T15:04:05.000000000Z07:00"), ' ')
		_, _ = w.Write(p.scratch)
	}
	if !p.flags.details {
		return
	}
	// Docker's form: NAME=value, comma separated, and a space, which is there
	// without any as well.
	for i, a := range line.Attrs {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		_, _ = w.WriteString(a.Name + "=" + a.Value)
	}
	_ = w.WriteByte(' ')
}
