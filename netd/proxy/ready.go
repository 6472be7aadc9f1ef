package proxy

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/cleat-project/cleat/netd"
)

// errNotReady is what becomes of a connection whose patience has come to an end.
var errNotReady = errors.New("the container is not healthy yet")

// await connects to a run once it is ready and listens, which keeps it from being
// put to sleep. Lasting is the context of the server, ctx that of the connection.
func (s *server) await(ctx, lasting context.Context, run Run, p netd.Port, six bool) (net.Conn, error) {
	if s.Hold != nil {
		defer s.Hold(run)()
	}
	if err := s.isReady(ctx, lasting, run); err != nil {
		return nil, err
	}
	return s.reach(ctx, run, p, six)
}

// isReady returns once run is ready.
func (s *server) isReady(ctx, lasting context.Context, run Run) error {
	if s.Ready == nil {
		return nil
	}
	a := s.ready.ask(run, func() error {
		ctx, cancel := context.WithCancel(lasting)
		defer cancel()
		go func() {
			select {
			case <-s.ends.watch(run):
				cancel()
			case <-ctx.Done():
			}
		}()
		return s.Ready(ctx, run)
	})
	select {
	case <-a.done:
	case <-ctx.Done():
		return errNotReady
	case <-s.ends.watch(run):
		return errEnded
	}
	select {
	case <-s.ends.watch(run): // which is what has cancelled the question
		return errEnded
	default:
		return a.err
	}
}

// ready has one connection ask for all whether a run is ready.
type ready struct {
	mu sync.Mutex
	of map[string]*answer // by Run.ID
}

// answer is what was said of a run, once done is closed.
type answer struct {
	done chan struct{}
	err  error
}

func (r *ready) ask(run Run, question func() error) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.of[run.ID]; a != nil {
		return a
	}
	a := &answer{done: make(chan struct{})}
	if r.of == nil {
		r.of = map[string]*answer{}
	}
	r.of[run.ID] = a
	go func() {
		defer close(a.done)
		a.err = question()
	}()
	return a
}
