package seqpacket

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes a listening socket at path, with mode 0600, for a daemon that
// systemd did not start. An old socket there is replaced.
func Listen(path string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, errors.Join(err, unix.Close(fd))
	}
	// The mode of the socket file follows the descriptor's.
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return -1, errors.Join(&os.PathError{Op: "listen", Path: path, Err: err}, unix.Close(fd))
	}
	return fd, nil
}

// Listener accepts the connections of a listening socket.
type Listener struct {
	f  *os.File
	rc syscall.RawConn
}

// NewListener makes a Listener of a listening socket, which it owns from then on.
func NewListener(fd int) (*Listener, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listening socket")
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Listener{f, rc}, nil
}

// Accept waits for a connection and returns its descriptor.
func (l *Listener) Accept() (fd int, err error) {
	rErr := l.rc.Read(func(listen uintptr) bool {
		fd, _, err = unix.Accept4(int(listen), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return !retry(err) && !errors.Is(err, unix.ECONNABORTED)
	})
	if rErr != nil {
		return -1, rErr
	}
	return fd, err
}

// SetDeadline makes Accept, also one under way, return os.ErrDeadlineExceeded
// after t; the zero time takes that back.
func (l *Listener) SetDeadline(t time.Time) error { return l.f.SetReadDeadline(t) }

// Close closes the socket; an Accept under way returns os.ErrClosed.
func (l *Listener) Close() error { return l.f.Close() }
