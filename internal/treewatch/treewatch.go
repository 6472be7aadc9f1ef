// Package treewatch tells which files of some directory trees change, through
// inotify(7), which watches single directories.
package treewatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What directories are watched for. A file counts as changed once who wrote it has
// closed it.
const events = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// Watcher watches directory trees and single files.
type Watcher struct {
	f     *os.File
	roots []string
	skip  func(string) bool
	found chan []string // what one read has brought
	fail  error         // set before found is closed

	dirs map[int32]string // by watch descriptor; the reader's alone once it runs
	wg   sync.WaitGroup
}

// New watches what is at the absolute paths roots, and all below them. Skip says
// which directories are left out; nil leaves out none. The caller closes the
// watcher.
func New(roots []string, skip func(dir string) bool) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	if skip == nil {
		skip = func(string) bool { return false }
	}
	w := &Watcher{f: os.NewFile(uintptr(fd), "inotify"), roots: roots, skip: skip, found: make(chan []string, 64), dirs: map[int32]string{}}
	for _, root := range roots {
		if err := w.addRoot(root); err != nil {
			_ = w.f.Close()
			return nil, fmt.Errorf("watch %s: %w", root, err)
		}
	}
	w.wg.Go(w.read)
	return w, nil
}

// Close ends the watch.
func (w *Watcher) Close() {
	_ = w.f.Close() // ends the reader
	for range w.found {
		continue // so that it does not wait for us
	}
	w.wg.Wait()
}

// Next waits for changes, and then until there have been none for the time quiet.
// It returns the paths of files and directories that have been changed, made or
// removed, sorted. When much happens at once, some may not have changed.
func (w *Watcher) Next(ctx context.Context, quiet time.Duration) ([]string, error) {
	changed := map[string]bool{}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		var over <-chan time.Time
		if len(changed) > 0 {
			over = timer.C
		}
		select {
		case paths, ok := <-w.found:
			if !ok {
				return nil, errors.Join(w.fail, fs.ErrClosed)
			}
			for _, path := range paths {
				changed[path] = true
			}
			timer.Reset(quiet)
		case <-over:
			return slices.Sorted(maps.Keys(changed)), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// addRoot watches a tree, or the directory that a single file is in: editors
// replace files.
func (w *Watcher) addRoot(root string) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.add(filepath.Dir(root))
	}
	_, err = w.addTree(root)
	return err
}

// addTree watches a directory and those below it, and returns all that is there:
// what has come before the watch has not been told.
func (w *Watcher) addTree(dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone again
		}
		if err != nil {
			return err
		}
		if d.IsDir() && path != dir && w.skip(path) {
			return fs.SkipDir
		}
		found = append(found, path)
		if d.IsDir() || path == dir { // that one may be a symbolic link
			return w.add(path)
		}
		return nil
	})
	return found, err
}

func (w *Watcher) add(dir string) error {
	rc, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var wd int
	cerr := rc.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), dir, events) })
	switch {
	case cerr != nil:
		return cerr
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil // gone again, or replaced
	case errors.Is(err, unix.ENOSPC):
		return errors.New("there are more directories than this user may watch: raise the sysctl fs.inotify.max_user_watches, or ignore some")
	case err != nil:
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	w.dirs[int32(wd)] = dir
	return nil
}

// read turns what inotify reports into paths, until the watcher is closed.
func (w *Watcher) read() {
	defer close(w.found)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		paths, err := w.parse(buf[:n])
		if err != nil {
			w.fail = err
			return
		}
		if len(paths) > 0 {
			w.found <- paths
		}
	}
}

// parse reads a batch of struct inotify_event.
func (w *Watcher) parse(b []byte) (paths []string, err error) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
		end := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
		b = b[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			return w.everything()
		}
		dir, known := w.dirs[wd]
		if mask&unix.IN_IGNORED != 0 {
			delete(w.dirs, wd)
		}
		if !known || len(name) == 0 {
			continue
		}
		more, err := w.event(filepath.Join(dir, string(name)), mask)
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	return paths, nil
}

// event returns the paths that one event is about.
func (w *Watcher) event(path string, mask uint32) ([]string, error) {
	isDir := mask&unix.IN_ISDIR != 0
	switch {
	case !w.wanted(path) || isDir && w.skip(path):
		return nil, nil
	case isDir && mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		return w.addTree(path)
	case isDir && mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		w.forget(path)
	case !isDir && mask&unix.IN_CREATE != 0 && isRegular(path):
		return nil, nil // it is being written: the closing is told too
	}
	return []string{path}, nil
}

// isRegular reports whether path is a file of one name: one that has just got
// another name is not being written.
func isRegular(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink < 2
}

// wanted reports whether a path is a root or below one: of the directory of a
// single file, all is told.
func (w *Watcher) wanted(path string) bool {
	return slices.ContainsFunc(w.roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
	})
}

// forget ends the watch of a directory that has gone, which may be elsewhere now.
func (w *Watcher) forget(dir string) {
	rc, err := w.f.SyscallConn()
	if err != nil {
		return // closed
	}
	for wd, path := range w.dirs {
		if path != dir && !strings.HasPrefix(path, dir+"/") {
			continue
		}
		delete(w.dirs, wd)
		_ = rc.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) }) // it may have gone by itself
	}
}

// everything returns all that there is, when the kernel could not tell any more
// what has changed.
func (w *Watcher) everything() (paths []string, err error) {
	for _, root := range w.roots {
		found, err := w.addTree(root)
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	return paths, nil
}
