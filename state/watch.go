package state

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/inotify"
)

// ExitWatch tells when runs end, see Store.Ended, and containers are removed.
type ExitWatch struct{ w *inotify.Watch }

// WatchExits begins to watch. What happens afterwards is not missed. The caller
// closes the watch. A process that has watched takes some 20 ms longer to end:
// where that matters, a watch of the unit is better.
func (s *Store) WatchExits() (*ExitWatch, error) {
	if err := s.makeRunRoot(); err != nil {
		return nil, err
	}
	w, err := watchDirs(map[string]uint32{s.ExitDir(): unix.IN_MOVED_TO, s.names(): unix.IN_DELETE})
	if err != nil {
		return nil, err
	}
	return &ExitWatch{w}, nil
}

// watchDirs begins to watch directories, each for some events, see inotify(7).
func watchDirs(events map[string]uint32) (*inotify.Watch, error) {
	w, err := inotify.New()
	if err != nil {
		return nil, err
	}
	for dir, mask := range events {
		if err := w.Add(dir, mask); err != nil {
			w.Close()
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return w, nil
}

// Next waits until a run has ended or a container was removed, whichever it
// was, at most until ctx is done. The caller looks.
func (w *ExitWatch) Next(ctx context.Context) error { return nextEvent(ctx, w.w) }

// nextEvent waits until what w watches has changed, at most until ctx is done.
func nextEvent(ctx context.Context, w *inotify.Watch) error {
	select {
	case <-w.Events:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the watch.
func (w *ExitWatch) Close() { w.w.Close() }
