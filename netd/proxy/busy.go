package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// busy counts what is being carried.
type busy struct {
	mu      sync.Mutex
	n       int
	changed chan struct{} // of capacity one: the count has become zero or one
}

func (b *busy) add() { b.change(1, 1) }

func (b *busy) done() { b.change(-1, 0) }

// change adds to the count and tells if it has become what is worth telling.
func (b *busy) change(by, tell int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += by
	if b.n != tell {
		return
	}
	select {
	case b.changed <- struct{}{}:
	default: // it will be looked anyway
	}
}

func (b *busy) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// wait returns once nothing has been carried for the time of linger.
func (b *busy) wait(ctx context.Context, linger time.Duration) error {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if b.count() == 0 {
				return nil
			}
		case <-b.changed:
			timer.Reset(linger)
		}
	}
}

// ends tells of the ends of runs.
type ends struct {
	mu sync.Mutex
	of map[string]chan struct{} // by Run.ID
}

// watch returns a channel that is closed when the payload of run has ended.
func (e *ends) watch(run Run) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ch := e.of[run.ID]; ch != nil {
		return ch
	}
	ch := make(chan struct{})
	if e.of == nil {
		e.of = map[string]chan struct{}{}
	}
	e.of[run.ID] = ch
	go func() {
		defer close(ch)
		pidfd, err := unix.PidfdOpen(run.PID, 0)
		if err != nil {
			return // it has ended
		}
		defer func() { _ = unix.Close(pidfd) }()
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return ch
}
