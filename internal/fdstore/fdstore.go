// Package fdstore keeps descriptors of a daemon over its death in systemd's file
// descriptor store, see sd_pid_notify_with_fds(3), and takes what systemd passes
// to it when it starts again.
package fdstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// Store is systemd's descriptor store of this service, reached through the
// notification socket.
type Store struct {
	fd int
}

// Connect connects to the socket that $NOTIFY_SOCKET names.
func Connect(path string) (*Store, error) {
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
	return &Store{fd: fd}, nil
}

// Notify sends a state, for example "READY=1", with descriptors.
func (s *Store) Notify(state string, fds ...int) error {
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
// process's death. FDPOLL=0 keeps ended pipes and failed sockets in the store.
func (s *Store) Keep(name string, fds ...int) error {
	return s.Notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fds...)
}

// Forget removes all descriptors under name from the store.
func (s *Store) Forget(name string) error {
	return s.Notify("FDSTOREREMOVE=1\nFDNAME=" + name)
}

// Passed is a descriptor that systemd passed to this process: a listening socket
// or what was in the store. All names together have to fit into one environment
// variable, of 128 KiB.
type Passed struct {
	Name string
	FD   int
}

// Take returns what systemd passed to this process, see
// sd_listen_fds_with_names(3); getenv is os.Getenv.
func Take(getenv func(string) string) ([]Passed, error) {
	const first = 3
	if pid := getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%q: %w", getenv("LISTEN_FDS"), spec.ErrInvalid)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	if len(names) != n {
		return nil, fmt.Errorf("LISTEN_FDNAMES has %d names for %d descriptors: %w", len(names), n, spec.ErrInvalid)
	}
	all := make([]Passed, 0, n)
	for i, name := range names {
		unix.CloseOnExec(first + i)
		all = append(all, Passed{Name: name, FD: first + i})
	}
	return all, nil
}
