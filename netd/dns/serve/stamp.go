package serve

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// stamp tells versions of a file apart. The zero value is that of a file that
// does not exist.
type stamp struct {
	dev, ino uint64
	size     int64
	changed  time.Time
}

// stampOf returns the stamp of the file at path.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stampFrom(info)
}

func stampFrom(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino = st.Dev, st.Ino
	}
	return s
}

// tick is more than the time in which two changes of a file can have the same
// time of modification: a tick of the kernel's clock.
const tick = 50 * time.Millisecond

// version is what was read of a file.
type version struct {
	stamp stamp
	read  time.Time // when the reading began
}

// current reports whether somebody who came at asked, and then found the file
// with stamp now, can do with what was read: it is the latest, or was read after
// he came.
func (v version) current(now stamp, asked time.Time) bool {
	if v.read.After(asked) {
		return true
	}
	return v.stamp == now && v.read.Sub(now.changed) > tick
}
