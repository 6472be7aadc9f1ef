package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

const (
	// The kernel tells nobody of a listen(2) in another's network, so a container
	// that does not listen yet is tried again, soon at first.
	firstPause, longestPause = time.Millisecond, 50 * time.Millisecond

	// dialTimeout is how long an answer from a container may take before it is asked
	// again.
	dialTimeout = time.Second

	// maxRuns is how many runs of a container that end by themselves a connection
	// lives through.
	maxRuns = 3
)

// What keeps a connection from the run that it is for. It is tried again with the
// next one.
var (
	errEnded   = errors.New("the container has ended")
	errClosing = errors.New("the container is about to be ended")
)

// dial connects to the container, which is woken if need be, once it is ready and
// listens.
func (s *server) dial(ctx context.Context, p netd.Port, six bool) (net.Conn, Run, error) {
	lasting := ctx
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	ended := 0
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		run, err := s.run(ctx)
		var conn net.Conn
		if err == nil {
			conn, err = s.await(ctx, lasting, run, p, six)
		}
		if err == nil {
			// Whoever is about to end the run has either seen the connection, and lets
			// it go on, or not: then the next run gets it.
			if err = s.over(run); err == nil {
				s.lead(ctx, p)
				return conn, run, nil
			}
			_ = conn.Close()
		}
		if errors.Is(err, errEnded) {
			ended++
		}
		again := errors.Is(err, errClosing) || errors.Is(err, errEnded) && ended < maxRuns
		if !again || s.Wake == nil || pause.For(ctx, wait) != nil {
			return nil, run, err
		}
	}
}

// lead tells that the container listens at p, which the connection at hand need
// not wait for.
func (s *server) lead(ctx context.Context, p netd.Port) {
	if s.Lead == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	s.busy.add()
	go func() {
		defer s.busy.done()
		if err := s.Lead(ctx, p); err != nil {
			s.Warn(fmt.Sprintf("lead port %s to the container: %v", p, err))
		}
	}()
}

// over returns nil if run goes on and is not about to be ended.
func (s *server) over(run Run) error {
	now, err := s.Run()
	switch {
	case errors.Is(err, spec.ErrConflict):
		return errClosing
	case err != nil || now.ID != run.ID:
		return errEnded
	}
	return nil
}

// run returns the run under way, which it has started if there was none.
func (s *server) run(ctx context.Context) (Run, error) {
	run, err := s.Run()
	if s.Wake != nil && (errors.Is(err, spec.ErrNotFound) || errors.Is(err, spec.ErrConflict)) {
		if err := s.waker.wake(ctx, s); err != nil {
			return run, err
		}
		run, err = s.Run()
	}
	switch {
	case errors.Is(err, spec.ErrConflict):
		err = errClosing
	case errors.Is(err, spec.ErrNotFound):
		err = errEnded
	}
	return run, err
}

// waker has the container woken by one connection for all.
type waker struct {
	mu     sync.Mutex
	err    error
	failed time.Time
}

// wake returns once there is a run, be it about to end. If none comes up it is not
// tried again at once, however many connections there are.
func (w *waker) wake(ctx context.Context, s *server) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil && time.Since(w.failed) < s.Linger {
		return w.err
	}
	for range maxRuns {
		if _, err := s.Run(); err == nil {
			return nil
		}
		if w.err = s.Wake(ctx); w.err != nil {
			break
		}
		if _, err := s.Run(); !errors.Is(err, spec.ErrNotFound) {
			return nil
		}
		w.err = errors.New("the container ends as soon as it is started")
	}
	w.failed = time.Now()
	return w.err
}

// reach connects to a run once it listens.
func (s *server) reach(ctx context.Context, run Run, p netd.Port, six bool) (net.Conn, error) {
	addr := run.addr(six)
	if !addr.IsValid() {
		return nil, fmt.Errorf("it has no address: %w", spec.ErrNotFound)
	}
	// One that has ended gives no answer, not even a refusal.
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.ends.watch(run):
			cancel()
		case <-alive.Done():
		}
	}()
	dialer := net.Dialer{Timeout: dialTimeout}
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		if p.Proto != netd.UDP || bound(run.PID, p.ContainerPort) {
			conn, err := dialer.DialContext(alive, string(p.Proto), netip.AddrPortFrom(addr, p.ContainerPort).String())
			if err == nil {
				return conn, nil
			}
		}
		if err := s.over(run); err != nil {
			return nil, err
		}
		if pause.For(alive, wait) != nil {
			if ctx.Err() == nil {
				return nil, errEnded
			}
			return nil, fmt.Errorf("the container does not listen at port %d/%s", p.ContainerPort, p.Proto)
		}
	}
}

// bound reports whether a process in the network of process pid has a UDP socket at
// a port, see proc_pid_net(5).
func bound(pid int, port uint16) bool {
	return len(socketsAt(pid, "udp", port)) > 0
}
