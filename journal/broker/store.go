package broker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// Store keeps descriptors over the death of the broker.
type Store interface {
	// Keep adds descriptors under name, which may hold several.
	Keep(name string, fds ...int) error
	// Forget removes all descriptors under name.
	Forget(name string) error
}

// Stored is a descriptor that came out of the store.
type Stored struct {
	Name string
	FD   int
}

// SystemdStore is systemd's descriptor store of this service, reached through
// the notification socket. See sd_pid_notify_with_fds(3), FDSTORE=1.
type SystemdStore struct {
	fd int
}

// NewSystemdStore connects to the socket that $NOTIFY_SOCKET names.
func NewSystemdStore(path string) (*SystemdStore, error) {
	if path == "" || path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("notification socket %q: %w", path, spec.ErrInvalid)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return &SystemdStore{fd: fd}, nil
}

// Notify sends a state, for example "READY=1", with descriptors.
func (s *SystemdStore) Notify(state string, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(s.fd, []byte(state), oob, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("notify systemd: %w", err)
		}
		return nil
	}
}

// Keep adds descriptors to the store. It does not wait for systemd to read the
// message: that is in systemd's queue, which it reads before it learns of this
// process's death. FDPOLL=0 keeps ended pipes in the store.
func (s *SystemdStore) Keep(name string, fds ...int) error {
	return s.Notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fds...)
}

// Forget removes descriptors from the store.
func (s *SystemdStore) Forget(name string) error {
	return s.Notify("FDSTOREREMOVE=1\nFDNAME=" + name)
}

// ListenFDs takes the descriptors that systemd passed to this process apart:
// the listening socket, -1 if there is none, and what was in the store. See
// sd_listen_fds_with_names(3); getenv is os.Getenv.
func ListenFDs(getenv func(string) string) (listener int, stored []Stored, err error) {
	const first = 3
	listener = -1
	if pid := getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return listener, nil, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return listener, nil, fmt.Errorf("LISTEN_FDS=%q: %w", getenv("LISTEN_FDS"), spec.ErrInvalid)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	if len(names) != n {
		return listener, nil, fmt.Errorf("LISTEN_FDNAMES has %d names for %d descriptors: %w", len(names), n, spec.ErrInvalid)
	}
	for i, name := range names {
		fd := first + i
		unix.CloseOnExec(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return listener, nil, fmt.Errorf("look at descriptor %d: %w", fd, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			listener = fd
			continue
		}
		stored = append(stored, Stored{Name: name, FD: fd})
	}
	return listener, stored, nil
}

// nameDigits is the base of the names in the store. They are short because all
// of them together have to fit into one environment variable, of 128 KiB.
const nameDigits = 36

// stdinSuffix marks the entry of a container's stdin, which may have to go
// before the others.
const stdinSuffix = "."

func storeName(n uint64) string { return strconv.FormatUint(n, nameDigits) }
