package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// minProtectedFd is where the descriptor of a protected program lies: above
// those that a child is given, so that passing these does not overwrite it.
// Sockets for the payload come on top.
const minProtectedFd = 32

// protect opens the program at path so that whoever gets hold of the resulting
// /proc/<pid>/exe cannot write to it (CVE-2019-5736): on a read-only mount of
// its own, which no mount namespace contains, or else, where the kernel or its
// rules forbid that, as a sealed copy in memory. It is executed through
// procFd. The caller closes the descriptor, which is not below minFd.
func protect(path string, minFd int) (int, error) {
	fd, err := readOnlyMount(path)
	if err != nil {
		if fd, err = sealedCopy(path); err != nil {
			return -1, fmt.Errorf("protect %s: %w", path, err)
		}
	}
	defer closeFd(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, minFd)
	if err != nil {
		return -1, fmt.Errorf("protect %s: %w", path, err)
	}
	return high, nil
}

func readOnlyMount(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		closeFd(fd)
		return -1, err
	}
	return fd, nil
}

func sealedCopy(path string) (fd int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer func() { _ = in.Close() }() // only read
	fd, err = memfd()
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			closeFd(fd)
		}
	}()
	if _, err := io.Copy(fdWriter(fd), in); err != nil {
		return -1, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return fd, err
}

// memfd makes a sealable file in memory. Kernels from 6.3 on may be told to
// refuse executable ones that do not ask for it; older ones do not know how to.
func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("cleat-init", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("cleat-init", flags)
	}
	return fd, err
}

// fdWriter writes to a descriptor that stays its owner's.
type fdWriter int

// Write implements io.Writer.
func (fd fdWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		var k int
		err := eintr(func() (err error) { k, err = unix.Write(int(fd), p[n:]); return err })
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}
