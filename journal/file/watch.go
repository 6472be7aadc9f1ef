package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// What journald's directory is watched for. After each batch of entries journald
// truncates the file to the size that it has, because writing through mmap(2)
// alone raises no IN_MODIFY.
const (
	watchDir = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_MODIFY |
		unix.IN_ATTRIB | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	watchFile   = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF
	watchParent = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// watcher reports changes of journal directories through inotify(7).
type watcher struct {
	// events holds a value when something has changed since the last receive.
	events chan struct{}

	f      *os.File
	rescan atomic.Bool // files or directories came or went
	wg     sync.WaitGroup
}

// newWatcher watches the directories and files at paths. The caller closes it.
func newWatcher(paths []string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch journal: %w", err)
	}
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), events: make(chan struct{}, 1)}
	if err := w.update(paths); err != nil {
		_ = w.f.Close()
		return nil, err
	}
	w.wg.Go(w.read)
	return w, nil
}

// close stops watching.
func (w *watcher) close() {
	_ = w.f.Close()
	w.wg.Wait()
}

// takeRescan says, once, that files or directories have come or gone.
func (w *watcher) takeRescan() bool { return w.rescan.Swap(false) }

// update watches what is not watched yet. Of a path that does not exist, the
// nearest directory above it is watched.
func (w *watcher) update(paths []string) error {
	for _, p := range paths {
		if err := w.watch(p); err != nil {
			return fmt.Errorf("watch journal in %s: %w", p, err)
		}
	}
	return nil
}

// watch watches path or what is there of it. Watching something again changes
// nothing, so the loop ends once nothing on the way was created meanwhile.
func (w *watcher) watch(path string) error {
	prev := ""
	for {
		p, err := w.add(path)
		if err != nil {
			return err
		}
		if p == path || p == prev {
			return nil
		}
		prev = p
	}
}

// add watches the nearest existing one of path and the directories above it, and
// returns it.
func (w *watcher) add(path string) (string, error) {
	for p := path; ; p = filepath.Dir(p) {
		mask := uint32(watchDir)
		if p != path {
			// IN_MASK_ADD: it may be one of the watched directories, too.
			mask = watchParent | unix.IN_MASK_ADD
		} else if fi, err := os.Stat(p); err == nil && !fi.IsDir() {
			mask = watchFile
		}
		err := w.addWatch(p, mask)
		if !errors.Is(err, unix.ENOENT) || p == filepath.Dir(p) {
			return p, err
		}
	}
}

func (w *watcher) addWatch(path string, mask uint32) error {
	rc, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := rc.Control(func(fd uintptr) {
		_, err = unix.InotifyAddWatch(int(fd), path, mask)
	})
	return errors.Join(err, cerr)
}

// read turns what inotify reports into events until the watcher is closed.
func (w *watcher) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		w.parse(buf[:n])
		select {
		case w.events <- struct{}{}:
		default: // one is pending already
		}
	}
}

// parse looks through a batch of struct inotify_event for anything but changes
// of a file's content.
func (w *watcher) parse(b []byte) {
	for len(b) >= unix.SizeofInotifyEvent {
		if binary.NativeEndian.Uint32(b[4:])&^uint32(unix.IN_MODIFY) != 0 {
			w.rescan.Store(true)
		}
		name := binary.NativeEndian.Uint32(b[12:])
		b = b[min(len(b), unix.SizeofInotifyEvent+int(name)):]
	}
}
