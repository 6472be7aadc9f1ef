package sandbox

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeFd closes a descriptor that nothing was written to; close(2) then has
// no error worth reporting.
func closeFd(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// procFd is a path that leads to the open file fd whatever its own path is.
func procFd(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// eintr repeats a call that a signal interrupted.
func eintr(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fileType returns the S_IFMT part of fd's mode, and the device number of a
// device node.
func fileType(fd int) (kind uint32, rdev uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	return st.Mode & unix.S_IFMT, st.Rdev, nil
}

// fsType returns the magic number of fd's filesystem.
func fsType(fd int) (int64, error) {
	var st unix.Statfs_t
	if err := eintr(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Type), nil //nolint:unconvert // 32 bits wide on some machines
}
