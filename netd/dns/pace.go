package dns

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/cleat-project/cleat/internal/pause"
)

// paceWindow is the time over which questions are counted.
const paceWindow = 100 * time.Millisecond

// scarcePause is the time to wait for what the system is short of.
const scarcePause = 100 * time.Millisecond

// pace bounds what is done in every paceWindow.
type pace struct {
	limit int

	mu    sync.Mutex
	used  int
	until time.Time // the end of the window
}

// wait returns when one thing more may be done, or false once ctx is done.
func (p *pace) wait(ctx context.Context) bool {
	now := time.Now()
	p.mu.Lock()
	if !now.Before(p.until) {
		p.used, p.until = 0, now.Add(paceWindow)
	}
	p.used++
	rest := p.until.Sub(now)
	over := p.used > p.limit
	p.mu.Unlock()
	return !over && ctx.Err() == nil || over && pause.For(ctx, rest) == nil
}

// scarce reports whether err is about something that the whole system is short
// of, and will have again.
func scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
