package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Hold keeps everything in the store from being deleted, whether the index leads
// to it or not, until Release. Names may still be taken away. Whoever creates a
// container holds the store from before Get until the container is recorded where
// Options.InUse sees it. Holds do not exclude each other.
type Hold struct {
	f    *os.File
	once sync.Once
}

// Hold takes a Hold. It waits, at most until ctx is done, only while another
// process is in the middle of a deletion.
func (s *Store) Hold(ctx context.Context) (*Hold, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	f, err := s.openHold()
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	if err := flock(f, unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		done <- err
	} else { // flock(2) cannot be interrupted from Go, so it blocks a thread of its own
		go func() { done <- flock(f, unix.LOCK_SH) }()
	}
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("hold image store: %w", err)
		}
		return &Hold{f: f}, nil
	case <-ctx.Done():
		go func() { _, _ = <-done, f.Close() }() // got late, and given back
		return nil, fmt.Errorf("wait for image store: %w", context.Cause(ctx))
	}
}

// Release ends the hold. It may be called more than once, and on nil.
func (h *Hold) Release() {
	if h != nil {
		h.once.Do(func() { _ = h.f.Close() }) // closing drops the flock; nothing was written
	}
}

// errHeld says that somebody holds the store.
var errHeld = errors.New("image store is in use")

// holdAlone excludes every Hold, or returns errHeld at once if there is one.
func (s *Store) holdAlone() (*Hold, error) {
	f, err := s.openHold()
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errHeld
		}
		return nil, fmt.Errorf("hold image store: %w", err)
	}
	return &Hold{f: f}, nil
}

func (s *Store) openHold() (*os.File, error) {
	return os.OpenFile(s.path("hold"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
