package serve

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher tells of changes of files, see inotify(7).
type watcher struct {
	f  *os.File
	rc syscall.RawConn
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &watcher{f, rc}, nil
}

// add watches path for the events in mask and returns the number of the watch,
// the same one for the same file.
func (w *watcher) add(path string, mask uint32) (wd int, err error) {
	cErr := w.rc.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), path, mask) })
	if err := errors.Join(cErr, err); err != nil {
		return 0, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return wd, nil
}

// remove ends a watch. That the file is gone, and the watch with it, is no error.
func (w *watcher) remove(wd int) {
	_ = w.rc.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
}

// next waits for changes and returns the watches that they are of. Lost says that
// there were too many.
func (w *watcher) next(buf []byte) (wds []int, lost bool, err error) {
	n, err := w.f.Read(buf)
	if err != nil {
		return nil, false, err
	}
	for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		wd := int(int32(binary.NativeEndian.Uint32(b)))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		lost = lost || mask&unix.IN_Q_OVERFLOW != 0
		wds = append(wds, wd)
		b = b[min(size, len(b)):]
	}
	return wds, lost, nil
}

func (w *watcher) close() { _ = w.f.Close() }
