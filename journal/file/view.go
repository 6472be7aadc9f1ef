package file

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// view is a file in memory. Those who read the same file share it: a server with
// hundreds of readers would otherwise be charged for the file by each of them.
type view struct {
	inode inode
	bytes []byte
	users int // under views.mu
}

// views are the largest ones of the files that somebody reads. A file that is in
// memory keeps its inode, so that no other file is taken for it.
var views = struct {
	mu sync.Mutex
	of map[inode]*view
}{of: map[inode]*view{}}

// viewOf returns a view of at least size bytes of f. The caller releases it.
func viewOf(f *os.File, of inode, size int) (*view, error) {
	views.mu.Lock()
	defer views.mu.Unlock()
	if v := views.of[of]; v != nil && len(v.bytes) >= size {
		v.users++
		return v, nil
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	v := &view{of, b, 1}
	views.of[of] = v
	return v, nil
}

// release gives a view back; nil is none.
func (v *view) release() error {
	if v == nil {
		return nil
	}
	views.mu.Lock()
	defer views.mu.Unlock()
	if v.users--; v.users > 0 {
		return nil
	}
	if views.of[v.inode] == v {
		delete(views.of, v.inode)
	}
	b := v.bytes
	v.bytes = nil
	return unix.Munmap(b)
}
