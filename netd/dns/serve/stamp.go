package serve

import (
	"time"

	"golang.org/x/sys/unix"
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
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}
	}
	return stamp{dev: st.Dev, ino: st.Ino, size: st.Size, changed: time.Unix(st.Mtim.Unix())}
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
