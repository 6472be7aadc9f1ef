package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// notifier speaks to the service manager, see sd_notify(3). The zero address
// stands for no manager: what is sent is dropped.
type notifier struct {
	fd   int
	addr *unix.SockaddrUnix
}

// newNotifier opens the socket at path, the value of $NOTIFY_SOCKET.
func newNotifier(path string) (*notifier, error) {
	if path == "" {
		return &notifier{fd: -1}, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open notification socket: %w", err)
	}
	return &notifier{fd, &unix.SockaddrUnix{Name: path}}, nil
}

func (n *notifier) close() { closeFd(n.fd) }

func (n *notifier) send(state string, fds ...int) error {
	if n.addr == nil {
		return nil
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	err := eintr(func() error { return unix.Sendmsg(n.fd, []byte(state), oob, n.addr, unix.MSG_NOSIGNAL) })
	if err != nil {
		return fmt.Errorf("notify service manager at %s: %w", n.addr.Name, err)
	}
	return nil
}

// barrier asks the manager to say when it has read everything sent before, see
// sd_notify_barrier(3). The returned function waits for that.
func (n *notifier) barrier() (wait func() error, err error) {
	if n.addr == nil {
		return func() error { return nil }, nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make barrier: %w", err)
	}
	err = n.send("BARRIER=1", p[1])
	closeFd(p[1])
	if err != nil {
		closeFd(p[0])
		return nil, err
	}
	return func() error {
		defer closeFd(p[0])
		// The manager closes its end once it gets there, which ends the file.
		var one [1]byte
		err := eintr(func() error { _, err := unix.Read(p[0], one[:]); return err })
		if err != nil {
			return fmt.Errorf("wait for service manager: %w", err)
		}
		return nil
	}, nil
}
