package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ExitWatch tells when runs end, see Store.Ended, and containers are removed.
type ExitWatch struct{ f *os.File }

// WatchExits begins to watch. What happens afterwards is not missed. The caller
// closes the watch, which takes the kernel some 20 ms: where that matters, a
// watch of the unit is better.
func (s *Store) WatchExits() (*ExitWatch, error) {
	if err := s.makeRunRoot(); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch exits: %w", err)
	}
	w := &ExitWatch{os.NewFile(uintptr(fd), "inotify")}
	for dir, events := range map[string]uint32{s.ExitDir(): unix.IN_MOVED_TO, s.names(): unix.IN_DELETE} {
		if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
			w.Close()
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return w, nil
}

// Next waits until a run has ended or a container was removed, whichever it
// was, at most until ctx is done. The caller looks.
func (w *ExitWatch) Next(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var events [4096]byte // whatever is in it: the caller reads the directory
	_, err := w.f.Read(events[:])
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("watch exits: %w", err)
	}
	return nil
}

// Close ends the watch.
func (w *ExitWatch) Close() { _ = w.f.Close() }
