package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/term"

	"github.com/cleat-project/cleat/internal/interrupt"
)

// echo is a container that says hello, sends back what it gets, and ends with
// its input.
type echo struct {
	input chan []byte
	feed  error // what feeding it comes to
}

func newEcho() *echo { return &echo{input: make(chan []byte, 1)} }

func (e *echo) Copy(ctx context.Context, stdout, stderr io.Writer) error {
	if stderr != nil {
		_, _ = io.WriteString(stderr, "hello\n")
	}
	select {
	case text := <-e.input:
		if stdout != nil {
			_, _ = stdout.Write(text)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *echo) CopyStdin(_ context.Context, src io.Reader) error {
	text, err := io.ReadAll(src)
	if err != nil || e.feed != nil {
		return errors.Join(err, e.feed)
	}
	e.input <- text
	return nil
}

func (e *echo) CloseStdin() error { return nil }
func (e *echo) Close() error      { return nil }

func TestStream(t *testing.T) {
	t.Parallel()
	all := streams{stdin: true, stdout: true, stderr: true}
	broken := errors.New("broken")
	tests := map[string]struct {
		st       streams
		feed     error
		out, err string
		want     error
	}{
		"everything":                {st: all, out: "text", err: "hello\n"},
		"no stdout":                 {st: streams{stdin: true, stderr: true}, err: "hello\n"},
		"no stderr":                 {st: streams{stdin: true, stdout: true}, out: "text"},
		"only stdin ends with it":   {st: streams{stdin: true}},
		"the detach keys end it":    {st: all, feed: term.EscapeError{}, err: "hello\n", want: errDetached},
		"input that breaks ends it": {st: all, feed: broken, err: "hello\n", want: broken},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			c := &cli{in: strings.NewReader("text"), out: &out, err: &errs}
			e := newEcho()
			e.feed = tt.feed
			err := c.stream(t.Context(), e, tt.st)
			if !errors.Is(err, tt.want) || out.String() != tt.out {
				t.Errorf("error %v, stdout %q", err, &out)
			}
			if tt.want == nil && errs.String() != tt.err { // otherwise output is cut off
				t.Errorf("stderr %q, want %q", &errs, tt.err)
			}
		})
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupt.Error{Signal: syscall.SIGTERM})
	c := &cli{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	if err := c.stream(ctx, newEcho(), streams{stdout: true}); err == nil {
		t.Error("no error")
	}
}

func TestDetachKeys(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]byte{"": {16, 17}, "ctrl-a": {1}, "ctrl-p,x": {16, 'x'}} {
		if got, err := detachKeys(in); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %v, error %v", in, got, err)
		}
	}
	if _, err := detachKeys("ctrl-"); err == nil {
		t.Error(`"ctrl-" is no error`)
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	got := make(chan syscall.Signal, 10)
	stop := proxySignals(func(sig syscall.Signal) { got <- sig })
	defer stop()
	for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGURG, syscall.SIGUSR1} {
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if sig := <-got; sig != syscall.SIGUSR1 {
		t.Errorf("got %v first, want SIGUSR1", sig)
	}
}
