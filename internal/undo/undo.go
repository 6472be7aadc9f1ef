// Package undo runs compensating actions when a multi-step operation fails.
package undo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// timeout bounds a whole rollback, which runs although the operation's own
// context may be done already.
const timeout = 10 * time.Second

// Stack is a list of steps that have succeeded and can be taken back. The zero
// value is ready for use; it is not safe for concurrent use.
type Stack struct{ steps []step }

type step struct {
	what string
	fn   func(context.Context) error
}

// Push records how to take back the step that has just succeeded. What is a
// verb phrase used in error messages, for example "unmount rootfs".
func (s *Stack) Push(what string, fn func(context.Context) error) {
	s.steps = append(s.steps, step{what, fn})
}

// OnError runs the recorded actions, newest first, if *errp is not nil. Every
// action runs even if an earlier one fails; their errors are joined to *errp,
// so that errors.Is still finds the original cause.
func (s *Stack) OnError(ctx context.Context, errp *error) {
	if *errp == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].fn(ctx); err != nil {
			*errp = errors.Join(*errp, fmt.Errorf("%s: %w", s.steps[i].what, err))
		}
	}
}
