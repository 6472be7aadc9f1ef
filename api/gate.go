package api

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Listener is where clients come from.
type Listener struct {
	net.Listener
	TLS *tls.Config // nil is without
}

// handshakeTime is how long a client may take to show who it is.
const handshakeTime = 10 * time.Second

// maxHandshakes is how many clients may do so at once; others wait for their turn.
const maxHandshakes = 256

// gate makes one listener of several, and lets in who passes the handshake. It
// implements net.Listener, with a deadline after which no connection is on its way.
type gate struct {
	listeners []Listener
	warn      func(string)
	slots     chan struct{} // one for each handshake under way

	in      chan entrance
	queue   []entrance     // who came while it was shut
	workers sync.WaitGroup // those that accept and shake hands
	open    bool           // they are at work
	until   time.Time      // zero: no deadline
	closed  chan struct{}
	close   func() error
}

// entrance is a client that came in, or why none can any more.
type entrance struct {
	conn net.Conn
	err  error
}

func newGate(listeners []Listener, warn func(string)) *gate {
	g := &gate{listeners: listeners, warn: warn, slots: make(chan struct{}, maxHandshakes), in: make(chan entrance), closed: make(chan struct{})}
	g.close = sync.OnceValue(func() (err error) {
		close(g.closed)
		for _, l := range g.listeners {
			if closeErr := l.Close(); err == nil {
				err = closeErr
			}
		}
		return err
	})
	return g
}

// Addr implements net.Listener.
func (g *gate) Addr() net.Addr { return g.listeners[0].Addr() }

// Close implements net.Listener.
func (g *gate) Close() error { return g.close() }

// SetDeadline is for the next call of Accept.
func (g *gate) SetDeadline(t time.Time) error {
	g.until = t
	return nil
}

// Accept implements net.Listener. It is not safe for concurrent use. When it
// returns os.ErrDeadlineExceeded nothing is accepted until the next call.
func (g *gate) Accept() (net.Conn, error) {
	if len(g.queue) > 0 {
		return g.next()
	}
	if !g.open {
		g.openAll()
	}
	var timeout <-chan time.Time
	if !g.until.IsZero() {
		timer := time.NewTimer(time.Until(g.until))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case e := <-g.in:
		return e.conn, e.err
	case <-g.closed:
		return nil, net.ErrClosed
	case <-timeout:
		return g.shut()
	}
}

// openAll begins to accept.
func (g *gate) openAll() {
	g.open = true
	for _, l := range g.listeners {
		_ = setDeadline(l, time.Time{}) // one that cannot have any has none
		g.workers.Go(func() { g.accept(l) })
	}
}

// setDeadline sets until when a listener accepts.
func setDeadline(l Listener, t time.Time) error {
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(t)
	}
	return fmt.Errorf("listener at %s has no deadlines", l.Addr())
}

// next returns the first of those who wait.
func (g *gate) next() (net.Conn, error) {
	e := g.queue[0]
	g.queue = g.queue[1:]
	return e.conn, e.err
}

// shut ends accepting, and returns a client who came just then.
func (g *gate) shut() (net.Conn, error) {
	for _, l := range g.listeners {
		if err := setDeadline(l, time.Unix(1, 0)); err != nil {
			return nil, err
		}
	}
	done := make(chan struct{})
	go func() {
		g.workers.Wait()
		close(done)
	}()
	for {
		select {
		case e := <-g.in:
			g.queue = append(g.queue, e)
			continue
		case <-done:
		}
		if g.open = false; len(g.queue) > 0 {
			return g.next()
		}
		return nil, os.ErrDeadlineExceeded
	}
}

// accept takes clients in until the deadline.
func (g *gate) accept(l Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if !isTimeout(err) {
				g.enter(entrance{err: err})
			}
			return
		}
		if l.TLS == nil {
			g.enter(entrance{conn: c})
			continue
		}
		select {
		case g.slots <- struct{}{}:
		case <-g.closed:
			_ = c.Close() // nobody serves it
			return
		}
		g.workers.Go(func() {
			defer func() { <-g.slots }()
			g.shakeHands(tls.Server(c, l.TLS))
		})
	}
}

// shakeHands lets a client in that has shown who it is.
func (g *gate) shakeHands(c *tls.Conn) {
	err := c.SetDeadline(time.Now().Add(handshakeTime))
	if err == nil {
		err = c.Handshake() //nolint:noctx // it has a deadline
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		g.warn(fmt.Sprintf("refused a client at %s: %v", c.RemoteAddr(), err))
		_ = c.Close() // it is none of ours
		return
	}
	g.enter(entrance{conn: c})
}

func (g *gate) enter(e entrance) {
	select {
	case g.in <- e:
	case <-g.closed:
		if e.conn != nil {
			_ = e.conn.Close() // nobody serves it
		}
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error) //nolint:errorlint // of package net itself
	return ok && ne.Timeout()
}
