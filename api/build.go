package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/cleat-project/cleat/engine"
)

// Program is a program with what is to come before the arguments of a request, and
// in its environment besides that of this process.
type Program struct{ Args, Env []string }

// Limits of a build.
const (
	buildGrace = 20 * time.Second // from the end of a request to the end of its build by force
	buildRead  = 5 * time.Minute  // for which a client may take nothing: others may wait for the same step
	maxTold    = 8 << 10          // bytes of what the builder says on stderr
)

// buildImage builds in a process of its own, which writes the answer: the parser of
// Dockerfiles is not for a server to have in memory, nor to be ended by.
func (s *Server) buildImage(w http.ResponseWriter, r *request) error {
	if len(s.opt.Builder.Args) == 0 {
		return unsupported("building images is not supported by this server: cleat-build is not there")
	}
	args, err := r.buildArgs()
	if err != nil {
		return err
	}
	creds, err := r.buildCredentials()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer s.noteBuild(r.query.Get("buildid"), cancel)()
	// Without this the first line of the answer would wait for the end of the request.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		return fmt.Errorf("answer while the request goes on: %w", err)
	}
	b := &building{w: w, cancel: cancel}
	if r.query.Get("remote") == "" {
		b.body = r.Body
	}
	if err := b.start(ctx, s.opt.Builder, args); err != nil {
		return err
	}
	return b.serve(ctx, creds)
}

// building is a build under way.
type building struct {
	w      http.ResponseWriter
	body   io.Reader // nil if there is none to read
	cancel context.CancelFunc

	cmd     *exec.Cmd
	told    lastBytes // on stderr
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	out     *flushing     // once the answer has begun
	failure *progressLine // the last line, if it is one
	line    *os.File      // the builder gets its credentials here, and ends when it is closed
}

func (b *building) start(ctx context.Context, p Program, args []string) (err error) {
	b.cmd = exec.CommandContext(ctx, p.Args[0], append(append(p.Args[1:len(p.Args):len(p.Args)], "--api"), args...)...)
	b.cmd.Env = append(os.Environ(), p.Env...)
	b.cmd.Stderr = &b.told
	b.cmd.Cancel = func() error { return b.cmd.Process.Signal(syscall.SIGTERM) }
	b.cmd.WaitDelay = buildGrace
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start the builder: %w", err)
	}
	if b.stdout, err = b.cmd.StdoutPipe(); err != nil {
		return fmt.Errorf("start the builder: %w", err)
	}
	far, near, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the builder: %w", err)
	}
	defer far.Close()
	b.cmd.ExtraFiles, b.line = []*os.File{far}, near
	if err := b.cmd.Start(); err != nil {
		_ = near.Close() // nobody has the other end
		return fmt.Errorf("start the builder: %w", err)
	}
	return nil
}

// serve brings the request to the builder and its answer to the client.
func (b *building) serve(ctx context.Context, creds []engine.Credentials) error {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = json.NewEncoder(b.line).Encode(creds) // a builder that does not want to hear says why
		b.send()
	}()
	b.answer()
	<-sent // else a client that still sends would not read the answer
	_ = b.line.Close()
	err := b.cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return b.ended(err)
}

// send passes the body on, to its end also if the builder has seen enough.
func (b *building) send() {
	defer b.stdin.Close()
	if b.body == nil {
		return
	}
	src := &watchedReader{Reader: b.body}
	if _, err := io.Copy(b.stdin, src); err != nil && src.err == nil {
		_, _ = io.Copy(io.Discard, src) // what counts is how it ends
	}
	if src.err != nil {
		b.cancel() // what has come is not all
	}
}

// watchedReader remembers an error.
type watchedReader struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// answer streams what the builder writes. Nothing but an error is kept: it is told
// with a status.
func (b *building) answer() {
	defer http.NewResponseController(b.w).SetWriteDeadline(time.Time{}) //nolint:errcheck // of a connection that has one
	for in := bufio.NewReader(b.stdout); ; {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 && b.pass(line) != nil {
			b.cancel() // the client takes nothing any more
			return
		}
		if err != nil {
			return // how the builder ends is told by Wait
		}
	}
}

// pass sends a line on.
func (b *building) pass(line []byte) error {
	b.failure = nil
	var l progressLine
	if json.Unmarshal(line, &l) == nil && l.Error != nil {
		b.failure = &l
		if b.out == nil {
			return nil
		}
	}
	if b.out == nil {
		b.out = beginStream(b.w, "application/json")
	}
	_ = http.NewResponseController(b.w).SetWriteDeadline(time.Now().Add(buildRead)) // not every connection has one
	_, err := b.out.Write(line)
	return err
}

// ended tells what the builder has not told itself.
func (b *building) ended(err error) error {
	switch {
	case b.failure != nil && b.out == nil:
		return httpError{http.StatusBadRequest, b.failure.Text}
	case b.failure != nil || err == nil:
		return nil
	}
	text := strings.TrimPrefix(strings.TrimSpace(string(b.told.data)), "ERROR: ")
	if text == "" {
		text = "the builder has ended: " + err.Error()
	}
	if b.out == nil {
		return httpError{http.StatusBadRequest, text}
	}
	return writeLine(b.out, progressLine{Error: &jsonstream.Error{Message: text}, Text: text})
}

// lastBytes keeps the end of what is written.
type lastBytes struct{ data []byte }

// Write implements io.Writer.
func (l *lastBytes) Write(p []byte) (int, error) {
	l.data = append(l.data, p...)
	l.data = l.data[max(0, len(l.data)-maxTold):]
	return len(p), nil
}

// noteBuild remembers how to cancel a build that its client has given an id, until
// what it returns is called.
func (s *Server) noteBuild(id string, cancel context.CancelFunc) (forget func()) {
	if id == "" {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.builds[id] = &cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.builds[id] == &cancel {
			delete(s.builds, id)
		}
	}
}

// cancelBuild ends a build. As in Docker, one that is not there is no error.
func (s *Server) cancelBuild(w http.ResponseWriter, r *request) error {
	id := r.query.Get("id")
	if id == "" {
		return invalid("build ID not provided")
	}
	s.mu.Lock()
	cancel := s.builds[id]
	s.mu.Unlock()
	if cancel != nil {
		(*cancel)()
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
