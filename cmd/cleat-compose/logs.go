package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// logFlags say how output is shown.
type logFlags struct {
	follow, noColor, noPrefix, timestamps bool
	tail, since, until                    string
	index                                 int
}

type logger interface {
	Logs(ctx context.Context, ref string, opt engine.LogOptions) iter.Seq2[engine.LogLine, error]
}

func newLogs(c *cli) *cobra.Command {
	f := &logFlags{}
	cmd := &cobra.Command{Use: "logs [OPTIONS] [SERVICE...]", Short: "View output from containers"}
	fs := cmd.Flags()
	fs.BoolVarP(&f.follow, "follow", "f", false, "Follow log output")
	fs.BoolVar(&f.noColor, "no-color", false, "Produce monochrome output")
	fs.BoolVar(&f.noPrefix, "no-log-prefix", false, "Don't print prefix in logs")
	fs.BoolVarP(&f.timestamps, "timestamps", "t", false, "Show timestamps")
	fs.StringVarP(&f.tail, "tail", "n", "all", "Number of lines to show from the end of the logs for each container")
	fs.StringVar(&f.since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	fs.StringVar(&f.until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	fs.IntVar(&f.index, "index", 0, "index of the container if service has multiple replicas")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := f.options(time.Now())
		if err != nil {
			return usageError{err}
		}
		_, list, err := c.containers(cmd.Context(), args)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(ct engine.Container) bool { return f.index != 0 && compose.NumberOf(ct) != f.index })
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.logs(cmd.Context(), eng, list, f, opt)
	}
	return cmd
}

func (f *logFlags) options(now time.Time) (opt engine.LogOptions, err error) {
	opt.Follow, opt.Tail = f.follow, -1
	if f.tail != "all" {
		if opt.Tail, err = strconv.Atoi(f.tail); err != nil {
			return opt, fmt.Errorf("--tail %q: must be a number or all", f.tail)
		}
	}
	if opt.Since, err = listing.Time(f.since, now); err != nil {
		return opt, fmt.Errorf("--since: %w", err)
	}
	if opt.Until, err = listing.Time(f.until, now); err != nil {
		return opt, fmt.Errorf("--until: %w", err)
	}
	return opt, nil
}

// colours are those of prefixes, in Docker's order: cyan, yellow, green,
// magenta, blue.
var colours = []int{36, 33, 32, 35, 34}

// prefixes returns what stands before the lines of each container.
func (c *cli) prefixes(list []engine.Container, f *logFlags) []string {
	out := make([]string, len(list))
	if f.noPrefix {
		return out
	}
	width := 0
	for i, ct := range list {
		out[i] = strings.TrimPrefix(ct.Name, compose.ProjectOf(ct)+"-")
		width = max(width, len(out[i]))
	}
	for i := range out {
		text := fmt.Sprintf("%-*s  | ", width, out[i])
		if c.colours() && !f.noColor {
			text = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[i%len(colours)], text)
		}
		out[i] = text
	}
	return out
}

// logs shows the output of containers: in the order of time, or, while it is
// followed, as it comes.
func (c *cli) logs(ctx context.Context, eng logger, list []engine.Container, f *logFlags, opt engine.LogOptions) error {
	prefixes := c.prefixes(list, f)
	p := &logPrinter{out: c.out, timestamps: f.timestamps}
	if !opt.Follow {
		return p.merge(ctx, eng, list, prefixes, opt)
	}
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, ct := range list {
		all.Go(func() {
			for line, err := range eng.Logs(ctx, ct.ID, opt) {
				if err != nil {
					errs[i] = err
					return
				}
				p.print(prefixes[i], line)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// logPrinter writes whole lines.
type logPrinter struct {
	timestamps bool

	mu      sync.Mutex
	out     io.Writer
	scratch bytes.Buffer
}

func (p *logPrinter) print(prefix string, line engine.LogLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scratch.Reset()
	p.scratch.WriteString(prefix)
	if p.timestamps {
		p.scratch.WriteString(line.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") + " ")
	}
	p.scratch.Write(line.Message)
	p.scratch.WriteByte('\n')
	_, _ = p.out.Write(p.scratch.Bytes()) // whoever reads has gone: then SIGPIPE ends the program
}

// say prints a line that is nobody's output.
func (p *logPrinter) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.out, text) // as above
}

// source is one container's output on its way to be merged.
type source struct {
	prefix string
	line   engine.LogLine
	next   func() (engine.LogLine, error, bool)
}

// merge prints the lines of all containers, the oldest first.
func (p *logPrinter) merge(ctx context.Context, eng logger, list []engine.Container, prefixes []string, opt engine.LogOptions) error {
	var open []*source
	for i, ct := range list {
		next, stop := iter.Pull2(eng.Logs(ctx, ct.ID, opt))
		defer stop()
		open = append(open, &source{prefix: prefixes[i], next: next})
	}
	advance := func(s *source) (bool, error) {
		line, err, ok := s.next()
		s.line = line
		return ok, err
	}
	live := open[:0]
	for _, s := range open {
		ok, err := advance(s)
		if err != nil {
			return err
		}
		if ok {
			live = append(live, s)
		}
	}
	for len(live) > 0 {
		oldest := slices.MinFunc(live, func(a, b *source) int { return a.line.Time.Compare(b.line.Time) })
		p.print(oldest.prefix, oldest.line)
		ok, err := advance(oldest)
		if err != nil {
			return err
		}
		if !ok {
			live = slices.DeleteFunc(live, func(s *source) bool { return s == oldest })
		}
	}
	return nil
}
