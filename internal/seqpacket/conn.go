// Package seqpacket connects the commands of cleat to its daemons: messages with
// descriptors over SOCK_SEQPACKET sockets, and requests that outlive the daemon
// that works on them. It links little, because the start helper runs it.
package seqpacket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxFDs is the number of descriptors that one message may carry.
const maxFDs = 4

// bufferBytes is how much a sender may have under way in a socket. The kernel
// counts its own overhead too, so this holds some four frames.
const bufferBytes = 512 << 10

// Conn is one end of a SOCK_SEQPACKET connection that can carry descriptors.
// Sending and receiving may go on at the same time, each from one goroutine.
type Conn struct {
	f  *os.File
	rc syscall.RawConn
}

// Dial connects to the socket at path. It does not wait for the daemon: a
// listening socket takes the connection at once, and systemd starts the daemon.
// If the queue of the socket is full, Dial waits until ctx is done.
func Dial(ctx context.Context, path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := connect(ctx, fd, path); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return New(fd)
}

// connect is a blocking connect(2) bounded by ctx's deadline: a non-blocking
// one to a full queue fails with EAGAIN and cannot be waited for.
func connect(ctx context.Context, fd int, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		tv := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
			return err
		}
	}
	for {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// New makes a Conn of a connected socket, which it owns from then on, also
// when it fails.
func New(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// Beyond the system's limit for root; without the privilege the limit holds.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferBytes)
	}
	f := os.NewFile(uintptr(fd), "connection")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Conn{f: f, rc: rc}, nil
}

// Close closes the connection; calls under way on it return os.ErrClosed.
func (c *Conn) Close() error { return c.f.Close() }

// SetDeadline bounds every call on the connection, also those under way.
func (c *Conn) SetDeadline(t time.Time) error { return c.f.SetDeadline(t) }

// Bind makes every call on the connection fail once ctx is done, until the
// returned function is called, which also takes that deadline away.
func (c *Conn) Bind(ctx context.Context) (release func()) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.f.SetDeadline(time.Unix(1, 0))
		close(fired)
	})
	return func() {
		if !stop() {
			<-fired
			_ = c.f.SetDeadline(time.Time{})
		}
	}
}

// PeerUID returns the user id of the process that connected.
func (c *Conn) PeerUID() (uint32, error) {
	var cred *unix.Ucred
	var err error
	cErr := c.rc.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(cErr, err); err != nil {
		return 0, fmt.Errorf("read peer credentials: %w", err)
	}
	return cred.Uid, nil
}

// Send sends one message with the given descriptors, waiting while the peer's
// buffer is full. A message that is too long for the buffer fails with EMSGSIZE.
func (c *Conn) Send(msg []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var err error
	wErr := c.rc.Write(func(fd uintptr) bool {
		_, err = unix.SendmsgN(int(fd), msg, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		return !retry(err)
	})
	return FirstError(wErr, err)
}

// Recv receives one message into buf and returns its length and descriptors,
// which the caller closes. A message longer than buf fails with EMSGSIZE. The
// end of the connection is io.EOF.
func (c *Conn) Recv(buf []byte) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(maxFDs*4))
	var oobn, flags int
	rErr := c.rc.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !retry(err)
	})
	if err := FirstError(rErr, err); err != nil {
		return 0, nil, err
	}
	if oobn > 0 {
		if fds, err = parseRights(oob[:oobn]); err != nil {
			return 0, nil, err
		}
	}
	switch {
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		CloseAll(fds)
		return 0, nil, unix.EMSGSIZE
	case n == 0:
		CloseAll(fds)
		return 0, nil, io.EOF
	}
	return n, fds, nil
}

// NextSize waits for a message and returns its length without taking it. At
// the end of the connection it is 0.
func (c *Conn) NextSize() (n int, err error) {
	var one [1]byte
	rErr := c.rc.Read(func(fd uintptr) bool {
		n, _, _, _, err = unix.Recvmsg(int(fd), one[:], nil, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		return !retry(err)
	})
	return n, FirstError(rErr, err)
}

func retry(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// FirstError returns the first of errs that is not nil.
func FirstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func parseRights(oob []byte) (fds []int, err error) {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	for i := range cmsgs {
		got, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil {
			continue // some other kind of control message
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// CloseAll closes descriptors that came with a message.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
