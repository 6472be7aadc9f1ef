package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRetries bounds what is tried again because others interfere: openat2(2),
// which answers EAGAIN when a rename anywhere on the machine coincides with the
// resolution of "..", and the removal of a directory that fills up again.
const maxRetries = 128

// openat2 is openat2(2), repeated where the kernel asks for it.
func openat2(dirfd int, name string, how *unix.OpenHow) (fd int, err error) {
	for range maxRetries {
		fd, err = unix.Openat2(dirfd, name, how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return fd, err
}

// openDirAt opens the directory name in dirfd for reading. It fails with ELOOP
// or ENOTDIR on a symbolic link and with EXDEV on a mount point.
func openDirAt(dirfd int, name string) (int, error) {
	return openat2(dirfd, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// openDir opens the directory at path, which is cleat's own and trusted.
func openDir(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("open directory %s: %w", path, err)
		}
		return fd, nil
	}
}

// closeFd closes a descriptor that nothing was written to, or whose content a
// crash may lose; close(2) then has no error worth reporting.
func closeFd(fd int) { _ = unix.Close(fd) }

// procFd is a path that leads to the open file fd whatever its own path is.
func procFd(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// KeepXattr reports whether the extended attribute called name may be carried
// from an image into a layer or a volume. Refused are the marks that overlayfs
// keeps for itself, with which an image could redirect a directory to another
// one, and the labels of security modules, which are the host's to give. What
// is left of security.* is security.capability.
func KeepXattr(name string) bool {
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return name == "security.capability" || !strings.HasPrefix(name, "security.")
}
