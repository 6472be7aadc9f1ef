package file

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mapping is a file seen through mmap(2). No slice of its bytes may be kept
// beyond the next call of a method.
type mapping struct {
	f     *os.File
	inode inode
	bytes []byte
	view  *view // whose bytes they are; nil if there are none
}

// inode tells files apart, also when they are renamed.
type inode struct{ dev, ino uint64 }

// openMapping opens and maps the file at path. An empty file has no bytes.
func openMapping(path string) (*mapping, error) {
	// O_NONBLOCK: opening a FIFO must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	m := &mapping{f: f}
	if err := m.grow(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return m, nil
}

// grow maps the file again if it has become longer.
func (m *mapping) grow() error {
	fi, err := m.f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("map %s: %w", m.f.Name(), fs.ErrInvalid)
	}
	m.inode = inodeOf(fi)
	size := fi.Size()
	if size <= int64(len(m.bytes)) {
		return nil
	}
	if size > math.MaxInt {
		return fmt.Errorf("map %s: %w", m.f.Name(), unix.EFBIG)
	}
	v, err := viewOf(m.f, m.inode, int(size))
	if err != nil {
		return fmt.Errorf("map %s: %w", m.f.Name(), err)
	}
	old := m.view
	m.view, m.bytes = v, v.bytes[:size]
	return old.release()
}

// Close unmaps and closes the file.
func (m *mapping) Close() error {
	err := m.view.release()
	m.view, m.bytes = nil, nil
	if cerr := m.f.Close(); err == nil {
		err = cerr
	}
	return err
}

var _ io.Closer = (*mapping)(nil)

func inodeOf(fi fs.FileInfo) inode {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}
	}
	return inode{st.Dev, st.Ino}
}
