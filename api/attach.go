package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/moby/term"

	"github.com/cleat-project/cleat/engine"
)

// attachContainer passes the streams of a container over the connection.
func (s *Server) attachContainer(w http.ResponseWriter, r *request) error {
	return s.attach(r, func(c engine.Container) (*attachment, error) {
		nc, err := hijack(w, r, mediaTypeOf(c.Process.TTY, r.version))
		if err != nil {
			return nil, err
		}
		a := &attachment{conn: nc, tty: c.Process.TTY}
		a.setOutput(r.flag("stdout"), r.flag("stderr"))
		return a, nil
	})
}

// attachWebsocket does the same over a websocket, whose streams are not told apart.
func (s *Server) attachWebsocket(w http.ResponseWriter, r *request) error {
	if _, err := websocketAccept(w, r); err != nil {
		return err // before the container notices
	}
	return s.attach(r, func(c engine.Container) (*attachment, error) {
		nc, err := upgradeWebsocket(w, r)
		if err != nil {
			return nil, err
		}
		a := &attachment{conn: nc, tty: c.Process.TTY}
		if r.flag("stdout") || a.tty && r.flag("stderr") {
			a.stdout = nc
		}
		if r.flag("stderr") && !a.tty {
			a.stderr = nc
		}
		return a, nil
	})
}

// attach finds the container, has the connection taken over, and passes its streams.
func (s *Server) attach(r *request, take func(engine.Container) (*attachment, error)) error {
	keys, err := detachKeys(r.query.Get("detachKeys"))
	if err != nil {
		return err
	}
	c, err := s.eng.Get(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	if err := attachable(c); err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // net/http ends it with the handler's hijack
	var session *engine.Session
	if r.flag("stream") {
		session, err = s.eng.Attach(ctx, c.ID, engine.AttachOptions{
			Stdin: r.flag("stdin"), Stdout: r.flag("stdout"), Stderr: r.flag("stderr"),
			Owner: c.Status == engine.StatusCreated, // the client of a foreground run attaches before the start
		})
		if err != nil {
			return err
		}
		defer session.Close() // It is read to its end, or the client is gone.
	}
	a, err := take(c)
	if err != nil {
		return err
	}
	defer a.conn.Close() // Nothing more is sent.
	ctx, cancel := a.conn.watch(ctx)
	defer cancel()
	a.session, a.keys, a.stdin = session, keys, r.flag("stdin") && c.Process.OpenStdin
	if r.flag("logs") {
		if err := a.replay(ctx, s.eng, c.ID); err != nil {
			return err
		}
	}
	if session == nil {
		return nil
	}
	return a.run(ctx)
}

// attachable explains why a container cannot be attached to.
func attachable(c engine.Container) error {
	switch c.Status {
	case engine.StatusPaused:
		return httpError{http.StatusConflict, "container " + c.Name + " is paused, unpause the container before attach"}
	case engine.StatusRestarting:
		return httpError{http.StatusConflict, "container " + c.Name + " is restarting, wait until the container is running"}
	case engine.StatusCreated, engine.StatusRunning, engine.StatusExited, engine.StatusDead:
	}
	return nil
}

// attachment is a client on the streams of a container.
type attachment struct {
	conn           *conn
	session        session
	stdout, stderr io.Writer // nil if not wanted
	stdin, tty     bool
	keys           []byte
}

// session is what an attachment uses of stdio.Session.
type session interface {
	Copy(ctx context.Context, stdout, stderr io.Writer) error
	CopyStdin(ctx context.Context, src io.Reader) error
	CloseStdin() error
	Close() error
}

func (a *attachment) setOutput(stdout, stderr bool) {
	if a.tty {
		if stdout || stderr {
			a.stdout = a.conn
		}
		return
	}
	out, errOut := newFrames(a.conn)
	if stdout {
		a.stdout = out
	}
	if stderr {
		a.stderr = errOut
	}
}

// replay writes what the container has written so far.
func (a *attachment) replay(ctx context.Context, eng logReader, id string) error {
	p := logPrinter{stdout: a.stdout, stderr: a.stderr}
	for line, err := range eng.Logs(ctx, id, engine.LogOptions{Tail: -1}) {
		if err != nil {
			return err
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
	return nil
}

// run passes bytes until the output ends or the client is gone: then ctx ends.
func (a *attachment) run(ctx context.Context) error {
	session, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if a.feed(session) {
			stop()
		}
	}()
	leave := context.AfterFunc(ctx, func() {
		awaitInput(fed)
		stop()
	})
	defer leave()
	err := a.session.Copy(session, a.stdout, a.stderr)
	if session.Err() != nil || isGone(err) {
		err = nil // the client left
		awaitInput(fed)
	}
	// The feeder reads from the connection or writes to the session: it ends with
	// both of them.
	_ = a.session.Close()
	_ = a.conn.Close()
	<-fed
	return err
}

// inputTime is how long input that its client has left behind may take.
const inputTime = 10 * time.Second

// awaitInput waits until what a client sent before it went has arrived, although
// not for ever: who should read it may never do so.
func awaitInput(fed <-chan struct{}) {
	select {
	case <-fed:
	case <-time.After(inputTime):
	}
}

// feed passes the client's input to the container. It reports whether the client
// typed the detach keys.
func (a *attachment) feed(ctx context.Context) (detached bool) {
	if !a.stdin {
		_, _ = io.Copy(io.Discard, a.conn) // its end is noticed elsewhere
		return false
	}
	var src io.Reader = a.conn
	if a.tty {
		src = term.NewEscapeProxy(a.conn, a.keys)
	}
	err := a.session.CopyStdin(ctx, src)
	if _, ok := errors.AsType[term.EscapeError](err); ok {
		return true
	}
	_ = a.session.CloseStdin() // a container that has ended does not mind
	return false
}

// isGone reports whether an error is only that the other side has gone.
func isGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, net.ErrClosed)
}

// detachKeys parses a sequence of keys; "" means Docker's default.
func detachKeys(s string) ([]byte, error) {
	if s == "" {
		return []byte{16, 17}, nil // ctrl-p, ctrl-q
	}
	keys, err := term.ToBytes(s)
	if err != nil {
		return nil, invalid("invalid detach keys (%s): %v", s, err)
	}
	return keys, nil
}
