package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/file"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

// Session is a client's attachment to a container's streams.
type Session = stdio.Session

// AttachOptions says which streams of a container to attach to.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool

	// Owner says that the container belongs to this client, as a foreground run
	// does: it waits for the client for ever, however slowly it reads.
	Owner bool
}

// Attach connects to a container's streams, also before its start, so that a
// foreground run loses no byte. The caller closes the session.
func (e *Engine) Attach(ctx context.Context, ref string, opt AttachOptions) (*Session, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return nil, err
	}
	req := stdio.AttachRequest{ID: c.ID, Stdin: opt.Stdin && c.Process.OpenStdin, Stdout: opt.Stdout, Stderr: opt.Stderr}
	if opt.Owner {
		req.Patience = -1
	}
	if err := e.ensureBroker(ctx); err != nil {
		return nil, err
	}
	s, err := stdio.Attach(ctx, e.stdioSocket(), req)
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", c.Name, err)
	}
	e.tellContainer(c, "attach")
	return s, nil
}

// ResizeTTY sets the window size of a container's terminal, in characters.
func (e *Engine) ResizeTTY(ctx context.Context, ref string, height, width uint16) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	return stdio.Resize(ctx, e.stdioSocket(), c.ID, stdio.Size{Width: width, Height: height})
}

// LogOptions says what part of a container's output to read. The zero value
// reads nothing: set Tail.
type LogOptions struct {
	Follow       bool
	Tail         int // lines from the end; negative means all
	Since, Until time.Time
	Details      bool // with LogLine.Attrs
}

// LogLine is one line of a container's output.
type LogLine = journal.LogLine

// Logs reads a container's output from the journal, and goes on until the
// container's run ends if Follow is set.
func (e *Engine) Logs(ctx context.Context, ref string, opt LogOptions) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		c, err := e.state.Find(ref)
		if err == nil && c.Log.Driver == "none" {
			err = conflict("container %q has log driver \"none\": its output is not kept", c.Name)
		}
		if err == nil {
			err = e.readLogs(ctx, c, opt, yield)
		}
		if err != nil {
			yield(LogLine{}, err)
		}
	}
}

func (e *Engine) readLogs(ctx context.Context, c spec.Container, opt LogOptions, yield func(LogLine, error) bool) error {
	reader, err := file.Open()
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if err := e.settleLogs(ctx, c); err != nil {
		return err
	}
	q := journal.LogQuery{ContainerID: c.ID, Unit: c.UnitName(), FormerUnits: c.FormerUnits, Since: opt.Since, Until: opt.Until, Tail: opt.Tail, Details: opt.Details}
	if opt.Follow {
		done := make(chan struct{})
		q.Follow, q.Done = true, done
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer close(done)
			_ = e.waitStopped(ctx, c) // the end of following either way
			_ = e.settleLogs(ctx, c)
		}()
	}
	for line, err := range reader.Logs(ctx, q) {
		if !yield(line, err) {
			return nil
		}
	}
	return nil
}

// settleLogs waits until all that a container has written before its end can be
// read. Of one that runs there is no end to wait for.
func (e *Engine) settleLogs(ctx context.Context, c spec.Container) error {
	if _, err := e.state.LoadLive(c.ID); !isNotFound(err) {
		return err
	}
	err := journal.Synchronize(ctx)
	if errors.Is(err, spec.ErrUnavail) {
		return nil // nobody is writing
	}
	return err
}
