package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/inotify"
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
type watcher struct{ *inotify.Watch }

// newWatcher watches the directories and files at paths. The caller closes it.
func newWatcher(paths []string) (*watcher, error) {
	iw, err := inotify.New()
	if err != nil {
		return nil, fmt.Errorf("watch journal: %w", err)
	}
	w := &watcher{iw}
	if err := w.update(paths); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// takeRescan says that files or directories have come or gone since the last call:
// something has happened that is no change of a file's content.
func (w *watcher) takeRescan() bool { return w.Take()&^uint32(unix.IN_MODIFY) != 0 }

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
			mask = watchParent
		} else if fi, err := os.Stat(p); err == nil && !fi.IsDir() {
			mask = watchFile
		}
		err := w.Add(p, mask)
		if !errors.Is(err, unix.ENOENT) || p == filepath.Dir(p) {
			return p, err
		}
	}
}
