// Package enlist is how the start of a container tells the daemon of package
// health that there is one to watch over: one datagram, which systemd starts the
// daemon for if it does not run.
package enlist

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sendWait bounds the wait for a daemon that systemd is starting: the socket's
// queue may be full until then.
const sendWait = 10 * time.Second

// Send tells the daemon at socket that a run of container id has begun. What it is
// to do, it finds in the container's records; the descriptors are its notification
// socket, if it has one. Once Send has returned nil, it will, however often it dies.
func Send(socket, id string, fds ...int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	wait := unix.NsecToTimeval(int64(sendWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return fmt.Errorf("bound wait: %w", err)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, []byte(id), oob, &unix.SockaddrUnix{Name: socket}, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send to %s: %w", socket, err)
		}
		return nil
	}
}
