// Package inotify lets any number of watchers share one instance of inotify(7):
// the kernel gives a user 128 of them, for all his processes, and takes some 20 ms
// to close one.
package inotify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// always are the events that come without having been asked for: the watch is
// gone, or some were lost.
const always = unix.IN_IGNORED | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW

// Watch is one watcher. Its methods may be called from several goroutines.
type Watch struct {
	// Events holds a value when something has happened since the last receive.
	Events <-chan struct{}

	hub    *hub
	events chan struct{}
	masks  map[int32]uint32 // what is wanted, by watch descriptor; under hub.mu
	seen   uint32           // under hub.mu
}

// New returns a watch of nothing. The caller closes it.
func New() (*Watch, error) {
	h, err := theHub()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	ch := make(chan struct{}, 1)
	return &Watch{Events: ch, events: ch, hub: h, masks: map[int32]uint32{}}, nil
}

// Add watches the file or directory at path for the events of mask too, see
// inotify(7). Events after it has returned are not missed. That nothing is there
// is unix.ENOENT.
func (w *Watch) Add(path string, mask uint32) error {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	wd, err := h.add(path, mask|unix.IN_MASK_ADD)
	if err != nil {
		return err
	}
	w.masks[wd] |= mask
	if h.watches[wd] == nil {
		h.watches[wd] = map[*Watch]bool{}
	}
	h.watches[wd][w] = true
	return nil
}

// Take returns the events since the last call, all in one mask.
func (w *Watch) Take() uint32 {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	seen := w.seen
	w.seen = 0
	return seen
}

// Close ends the watch. It does not close Events.
func (w *Watch) Close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for wd := range w.masks {
		delete(h.watches[wd], w)
		if len(h.watches[wd]) == 0 {
			delete(h.watches, wd)
			h.remove(wd)
		}
	}
	w.masks = nil
}

// hub is the instance that all watches of a process share. It stays until the
// process ends.
type hub struct {
	f *os.File

	mu      sync.Mutex
	watches map[int32]map[*Watch]bool // by watch descriptor
}

// The hub, once somebody has needed it. One that could not be made is tried again.
var (
	shared   *hub
	sharedMu sync.Mutex
)

func theHub() (*hub, error) {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared != nil {
		return shared, nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	shared = &hub{f: os.NewFile(uintptr(fd), "inotify"), watches: map[int32]map[*Watch]bool{}}
	go shared.read()
	return shared, nil
}

func (h *hub) add(path string, mask uint32) (wd int32, err error) {
	rc, err := h.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := rc.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), path, mask)
		wd = int32(n)
	})
	return wd, errors.Join(err, cerr)
}

// remove forgets a watch descriptor. That the kernel has forgotten it already, as
// the file is gone, does not matter.
func (h *hub) remove(wd int32) {
	rc, err := h.f.SyscallConn()
	if err == nil {
		_ = rc.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// read passes events on for as long as the process runs.
func (h *hub) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := h.f.Read(buf)
		if err != nil {
			return
		}
		h.pass(buf[:n])
	}
}

// pass hands a batch of struct inotify_event to the watches that want them.
func (h *hub) pass(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(b) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
		name := binary.NativeEndian.Uint32(b[12:])
		b = b[min(len(b), unix.SizeofInotifyEvent+int(name)):]
		if mask&unix.IN_Q_OVERFLOW != 0 { // nobody knows whose events were lost
			for wd := range h.watches {
				h.tell(wd, mask)
			}
			continue
		}
		h.tell(wd, mask)
		if mask&unix.IN_IGNORED != 0 {
			h.forget(wd)
		}
	}
}

// tell wakes the watches of a descriptor.
func (h *hub) tell(wd int32, mask uint32) {
	for w := range h.watches[wd] {
		wanted := mask & (w.masks[wd] | always)
		if wanted == 0 {
			continue
		}
		w.seen |= wanted
		select {
		case w.events <- struct{}{}:
		default: // one is pending already
		}
	}
}

// forget drops a descriptor that the kernel has dropped.
func (h *hub) forget(wd int32) {
	for w := range h.watches[wd] {
		delete(w.masks, wd)
	}
	delete(h.watches, wd)
}
