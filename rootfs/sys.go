package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"golang.org/x/sys/unix"
)

// maxRetries and openat2 are shared with the packages below this one.
const maxRetries = sys.MaxRetries

func openat2(dirfd int, name string, how *unix.OpenHow) (int, error) {
	return sys.Openat2(dirfd, name, how)
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
func procFd(fd int) string { return sys.ProcFd(fd) }

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
