package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/term"

	"github.com/cleat-project/cleat/engine"
)

// createExec prepares a command in a container.
func (s *Server) createExec(w http.ResponseWriter, r *request) error {
	var in container.ExecCreateRequest
	if err := r.body(&in); err != nil {
		return err
	}
	if _, err := detachKeys(in.DetachKeys); err != nil {
		return err
	}
	id, err := s.eng.ExecCreate(r.Context(), r.vars["id"], execRecord(in))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
	return nil
}

// execRecord turns a request into the engine's form.
func execRecord(in container.ExecCreateRequest) engine.ExecRecord {
	r := engine.ExecRecord{DetachKeys: in.DetachKeys, Options: engine.ExecOptions{
		Argv: in.Cmd, Env: in.Env, Dir: in.WorkingDir, User: in.User, Privileged: in.Privileged, TTY: in.Tty, Stdin: in.AttachStdin,
	}}
	r.Options.Height, r.Options.Width = consoleSize(in.ConsoleSize)
	return r
}

// consoleSize reads a pair of height and width.
func consoleSize(size *[2]uint) (height, width uint16) {
	if size == nil || size[0] > 0xffff || size[1] > 0xffff {
		return 0, 0
	}
	return uint16(size[0]), uint16(size[1])
}

// startExec starts a command, and passes its streams over the connection.
func (s *Server) startExec(w http.ResponseWriter, r *request) error {
	var in container.ExecStartRequest
	if err := decodeOne(http.MaxBytesReader(w, r.Body, maxBody), &in); err != nil {
		return err
	}
	id := r.vars["id"]
	rec, err := s.eng.ExecInspect(r.Context(), id)
	if err != nil {
		return err
	}
	keys, err := detachKeys(rec.DetachKeys)
	if err != nil {
		return err
	}
	opt := engine.ExecStartOptions{Detach: in.Detach}
	opt.Height, opt.Width = consoleSize(in.ConsoleSize)
	ctx := context.WithoutCancel(r.Context()) // the command outlives its client
	x, err := s.eng.ExecStart(ctx, id, opt)
	if failed, ok := errors.AsType[*engine.StartError](err); ok && !in.Detach {
		return s.tellFailedExec(w, r, rec, failed)
	}
	if err != nil {
		return err
	}
	s.keep(id, x)
	if in.Detach {
		go s.finish(ctx, id, x, nil)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	nc, err := hijack(w, r, mediaTypeOf(rec.Options.TTY, r.version))
	if err != nil {
		go s.finish(ctx, id, x, nil)
		return err
	}
	s.finish(ctx, id, x, &execClient{conn: nc, tty: rec.Options.TTY, keys: keys})
	return nil
}

// tellFailedExec tells of a command that could not be executed as Docker does, in
// the stream; its exit code is asked for afterwards.
func (s *Server) tellFailedExec(w http.ResponseWriter, r *request, rec engine.ExecRecord, failed *engine.StartError) error {
	nc, err := hijack(w, r, mediaTypeOf(rec.Options.TTY, r.version))
	if err != nil {
		return err
	}
	defer nc.Close() // Nothing more is sent.
	var out io.Writer = nc
	if !rec.Options.TTY {
		out, _ = newFrames(nc)
	}
	_, _ = io.WriteString(out, message(failed)+"\r\n") // a client that is gone does not mind
	return nil
}

// keep notes that the streams of a command pass through this process.
func (s *Server) keep(id string, x *engine.Exec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.execs[id] = x
}

// finish stays with a command until its end, so that its output is taken and its
// exit code recorded, also when its client has gone. Without a client, output is
// dropped.
func (s *Server) finish(ctx context.Context, id string, x *engine.Exec, client *execClient) {
	stdout, stderr, left := io.Discard, io.Discard, func() {}
	if client != nil {
		stdout, stderr, left = client.serve(ctx, x)
	}
	var shown sync.WaitGroup
	for _, stream := range []struct {
		dst io.Writer
		src io.Reader
	}{{stdout, x.Stdout}, {stderr, x.Stderr}} {
		if stream.src != nil {
			shown.Go(func() { _, _ = io.Copy(stream.dst, stream.src) }) // a terminal ends with EIO, see pty(7)
		}
	}
	shown.Wait()
	if _, err := x.Wait(ctx); err != nil {
		s.opt.Warn("wait for the end of exec " + id + ": " + err.Error())
	}
	s.mu.Lock()
	delete(s.execs, id)
	s.mu.Unlock()
	x.Close()
	left()
}

// execClient is a client on the streams of a command.
type execClient struct {
	conn *conn
	tty  bool
	keys []byte
}

// serve passes the client's input to the command, and returns what takes the
// output. Left is called when the command has ended.
func (c *execClient) serve(parent context.Context, x *engine.Exec) (stdout, stderr io.Writer, left func()) {
	ctx, cancel := c.conn.watch(parent)
	fed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		awaitInput(fed)
		_ = c.conn.Close()
	})
	out := &patient{w: c.conn, gone: cancel}
	stdout, stderr = out, out
	if !c.tty {
		stdout, stderr = newFrames(out)
	}
	go func() {
		defer close(fed)
		if c.feed(x.Stdin) {
			cancel()
		}
	}()
	return stdout, stderr, func() {
		_ = c.conn.Close()
		cancel()
		<-fed
	}
}

// feed passes the client's input to the command. It reports whether the client
// typed the detach keys.
func (c *execClient) feed(stdin io.WriteCloser) (detached bool) {
	if stdin == nil {
		_, _ = io.Copy(io.Discard, c.conn) // its end is noticed elsewhere
		return false
	}
	var src io.Reader = c.conn
	if c.tty {
		src = term.NewEscapeProxy(c.conn, c.keys)
	}
	_, err := io.Copy(stdin, src)
	if _, ok := errors.AsType[term.EscapeError](err); ok {
		return true
	}
	if !c.tty { // closing a terminal would end the output as well
		_ = stdin.Close() // the command may have ended, or have closed its input
	}
	return false
}

// patient is a writer for a client that may go: what comes then is dropped, so
// that a command does not notice.
type patient struct {
	w    io.Writer
	gone func()
	lost atomic.Bool
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	if p.lost.Load() {
		return len(b), nil
	}
	if _, err := p.w.Write(b); err != nil {
		p.lost.Store(true)
		p.gone()
	}
	return len(b), nil
}

// resizeExec sets the size of a command's terminal.
func (s *Server) resizeExec(w http.ResponseWriter, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	s.mu.Lock()
	x := s.execs[r.vars["id"]]
	s.mu.Unlock()
	if x == nil {
		rec, err := s.eng.ExecInspect(r.Context(), r.vars["id"])
		if err != nil {
			return err
		}
		return httpError{http.StatusConflict, "exec process " + rec.ID + " is not running"}
	}
	if err := x.Resize(height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// inspectExec tells of a command.
func (s *Server) inspectExec(w http.ResponseWriter, r *request) error {
	rec, err := s.eng.ExecInspect(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	return ok(w, execAnswer(rec))
}

// execAnswer turns a record into Docker's form.
func execAnswer(rec engine.ExecRecord) container.ExecInspectResponse {
	out := container.ExecInspectResponse{
		ID: rec.ID, Running: rec.Running(), ExitCode: rec.ExitCode, ContainerID: rec.ContainerID, Pid: rec.PID,
		OpenStdin: rec.Options.Stdin, OpenStdout: true, OpenStderr: true, CanRemove: rec.ExitCode != nil, DetachKeys: []byte(rec.DetachKeys),
		ProcessConfig: &container.ExecProcessConfig{Tty: rec.Options.TTY, User: rec.Options.User, Arguments: []string{}},
	}
	if len(rec.Options.Argv) > 0 {
		out.ProcessConfig.Entrypoint, out.ProcessConfig.Arguments = rec.Options.Argv[0], rec.Options.Argv[1:]
	}
	if rec.Options.Privileged {
		out.ProcessConfig.Privileged = new(true)
	}
	return out
}
