package event

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// JournalSocket is where journald takes entries.
const JournalSocket = "/run/systemd/journal/socket"

const (
	// sendWait bounds the wait for a journald that is busy: its queue is short,
	// and a container may be filling it.
	sendWait = 2 * time.Second

	// largeBytes is the socket buffer for an entry that the default one is too
	// small for, as of a container with very long labels.
	largeBytes = 8 << 20
)

// Send writes e to the journal. It returns once journald has taken the entry,
// which takes some ten microseconds; when it can be read is up to journald. An
// error means that nobody will read of e.
func Send(e Event) error { return SendTo(JournalSocket, e) }

// SendTo is Send to the socket at path.
func SendTo(path string, e Event) error {
	entry, err := Encode(e)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	wait := unix.NsecToTimeval(int64(sendWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	err = send(fd, entry, path)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, largeBytes); err == nil {
			err = send(fd, entry, path)
		}
	}
	if err != nil {
		return fmt.Errorf("send event to %s: %w", path, err)
	}
	return nil
}

func send(fd int, entry []byte, path string) error {
	for {
		err := unix.Sendto(fd, entry, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
