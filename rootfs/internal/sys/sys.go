// Package sys has the few system calls that all of rootfs makes in the same way.
package sys

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// MaxRetries bounds what is tried again because others interfere: openat2(2),
// which answers EAGAIN when a rename anywhere on the machine coincides with the
// resolution of "..", and the removal of a directory that fills up again.
const MaxRetries = 128

// Openat2 is openat2(2), repeated where the kernel asks for it.
func Openat2(dirfd int, name string, how *unix.OpenHow) (fd int, err error) {
	for range MaxRetries {
		fd, err = unix.Openat2(dirfd, name, how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return fd, err
}

// ProcFd is a path that leads to the open file fd whatever its own path is.
func ProcFd(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Close closes a descriptor that nothing was written to, or whose content a
// crash may lose; close(2) then has no error worth reporting. A negative one is
// none.
func Close(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
