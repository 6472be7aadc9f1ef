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
// closes the watch. The kernel takes some 20 ms for that, and a process that ends
// waits for it: where that matters, a watch of the unit is better.
func (s *Store) WatchExits() (*ExitWatch, error) {
	if err := s.makeRunRoot(); err != nil {
		return nil, err
	}
	f, err := watchDirs(map[string]uint32{s.ExitDir(): unix.IN_MOVED_TO, s.names(): unix.IN_DELETE})
	if err != nil {
		return nil, err
	}
	return &ExitWatch{f}, nil
}

// watchDirs begins to watch directories, each for some events, see inotify(7).
func watchDirs(events map[string]uint32) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch directories: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	for dir, mask := range events {
		if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return f, nil
}

// Next waits until a run has ended or a container was removed, whichever it
// was, at most until ctx is done. The caller looks.
func (w *ExitWatch) Next(ctx context.Context) error { return nextEvent(ctx, w.f) }

// nextEvent waits until what f watches has changed, at most until ctx is done.
func nextEvent(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var events [4096]byte // whatever is in it: the caller reads the directory
	_, err := f.Read(events[:])
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("watch directories: %w", err)
	}
	return nil
}

// Close ends the watch, which takes a while in the kernel: nobody waits for it.
func (w *ExitWatch) Close() { go w.f.Close() }
