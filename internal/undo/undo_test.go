package undo_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/undo"
)

func TestOnError(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		failAt string
		want   []string
	}{
		"nothing to undo when the first step fails": {"mount", []string{"mount"}},
		"one step back":          {"attach", []string{"mount", "attach", "undo mount"}},
		"newest first":           {"start", []string{"mount", "attach", "start", "undo attach", "undo mount"}},
		"success undoes nothing": {"", []string{"mount", "attach", "start"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var calls []string
			run := func() (err error) {
				var u undo.Stack
				defer u.OnError(t.Context(), &err)
				for _, s := range []string{"mount", "attach", "start"} {
					calls = append(calls, s)
					if s == tt.failAt {
						return broken
					}
					u.Push("undo "+s, func(context.Context) error { calls = append(calls, "undo "+s); return nil })
				}
				return nil
			}
			if err := run(); errors.Is(err, broken) != (tt.failAt != "") {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// The cause must stay visible, and cancellation must not stop the rollback.
func TestOnErrorJoinsAndIgnoresCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cause, second := errors.New("cause"), errors.New("second")
	run := func() (err error) {
		var u undo.Stack
		defer u.OnError(ctx, &err)
		u.Push("release", func(ctx context.Context) error { return errors.Join(second, ctx.Err()) })
		cancel()
		return cause
	}
	err := run()
	if !errors.Is(err, cause) || !errors.Is(err, second) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want cause and second, not canceled", err)
	}
}
