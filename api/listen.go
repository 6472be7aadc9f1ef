package api

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// ErrIdle is why serving ends after nobody was connected for a while.
var ErrIdle = errors.New("nobody was connected for a while")

// Limits on what a client may do before its request is there.
const (
	headTime   = 30 * time.Second // for the head of a request
	keepAlive  = 2 * time.Minute  // between two requests of a connection
	maxHead    = 1 << 20          // bytes
	graceShort = 2 * time.Second  // for requests under way when the process is told to end
)

// Serve answers requests on listeners until ctx ends, or, if idle is not negative,
// nobody has been connected for that time; then the error is ErrIdle. Where they are
// systemd's, a client that comes just then waits for the next process.
func (s *Server) Serve(ctx context.Context, listeners []Listener, idle time.Duration) error {
	watched := &idleListener{Listener: newGate(listeners, s.opt.Warn), idle: idle, busy: s.Busy, since: time.Now()}
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headTime, IdleTimeout: keepAlive, MaxHeaderBytes: maxHead,
		ErrorLog: log.New(warnWriter(s.opt.Warn), "", 0),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceShort)
		defer cancel()
		_ = srv.Shutdown(short)
		_ = srv.Close() // connections that are left; nothing is lost with them
	})
	err := srv.Serve(watched)
	if !stop() {
		<-stopped
		return context.Cause(ctx)
	}
	_ = srv.Close() // there are no connections
	if errors.Is(err, ErrIdle) {
		return ErrIdle
	}
	return fmt.Errorf("accept connections: %w", err)
}

// warnWriter passes lines of a log on.
type warnWriter func(string)

// Write implements io.Writer.
func (w warnWriter) Write(p []byte) (int, error) {
	w(strings.TrimSpace(string(p)))
	return len(p), nil
}

// idleListener counts connections, those that were taken over from HTTP included,
// and gives up when there are none for a while. As it decides that where it
// accepts, no connection gets lost in between.
type idleListener struct {
	net.Listener
	idle time.Duration // negative: never
	busy func() bool

	mu    sync.Mutex
	open  int
	since time.Time // since when there has been no connection
}

// Accept implements net.Listener.
func (l *idleListener) Accept() (net.Conn, error) {
	for {
		if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok && l.idle >= 0 {
			if err := d.SetDeadline(l.wake()); err != nil {
				return nil, err
			}
		}
		c, err := l.Listener.Accept()
		if err == nil {
			l.count(1)
			return &countedConn{Conn: c, gone: sync.OnceFunc(func() { l.count(-1) })}, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if l.expired() {
			return nil, ErrIdle
		}
	}
}

// wake is when to look again whether the time is over.
func (l *idleListener) wake() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.since.Add(l.idle); l.open == 0 && at.After(time.Now()) {
		return at
	}
	return time.Now().Add(max(l.idle, time.Second))
}

func (l *idleListener) expired() bool {
	busy := l.busy()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open == 0 && !busy && time.Since(l.since) >= l.idle
}

func (l *idleListener) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open += n; l.open == 0 {
		l.since = time.Now()
	}
}

// countedConn is a connection that is counted until it is closed.
type countedConn struct {
	net.Conn
	gone func()
}

// NetConn returns the connection that is counted.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *countedConn) Close() error {
	defer c.gone()
	return c.Conn.Close()
}
