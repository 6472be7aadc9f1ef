package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/pause"
)

// JournalSocket is where journald takes entries in its native protocol.
const JournalSocket = "/run/systemd/journal/socket"

const (
	// sendBufferBytes is the journal socket's buffer, as sd-journal sets it.
	sendBufferBytes = 8 << 20
	// retryPause is the time between attempts to reach a journald that is away.
	retryPause = 100 * time.Millisecond
)

// datagram is an entry on its way. It must be on the heap: its address
// is handed to the kernel as a number.
type datagram struct {
	buf  []byte
	cred []byte // control message, or nil
	oob  []byte
	iov  unix.Iovec
}

var datagrams = sync.Pool{New: func() any { return new(datagram) }}

// journalConn is one connected socket.
type journalConn struct {
	f  *os.File
	rc syscall.RawConn
}

// journalSocket sends to journald and connects again when that was restarted.
type journalSocket struct {
	path string
	warn func(format string, args ...any)

	mu   sync.Mutex
	conn *journalConn
}

func dialJournal(path string) (*journalConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journalConn{f: f, rc: rc}, nil
}

// get returns the connection, making one if there is none or if it is still the
// one that was found broken.
func (j *journalSocket) get(broken *journalConn) (*journalConn, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conn != nil && j.conn != broken {
		return j.conn, nil
	}
	if j.conn != nil {
		_ = j.conn.f.Close() // its datagrams are in journald's queue, or were refused
		j.conn = nil
	}
	c, err := dialJournal(j.path)
	if err != nil {
		return nil, err
	}
	j.conn = c
	return c, nil
}

func (j *journalSocket) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conn == nil {
		return nil
	}
	return j.conn.f.Close() // get finds it broken
}

// send sends d with the message header h, which lies in a stage. It returns nil
// once journald's socket has taken d, and otherwise goes on trying until ctx is
// done and close was called.
func (j *journalSocket) send(ctx context.Context, h *mmsghdr, d *datagram) error {
	var broken *journalConn
	warned := false
	d.oob = d.cred
	file := -1
	defer func() {
		if file >= 0 {
			_ = unix.Close(file)
		}
	}()
	for {
		conn, err := j.get(broken)
		if err == nil {
			err = conn.try(h, d, file)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case file < 0 && (errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS)):
			// Too long for the socket: the entries go in a sealed file, as
			// sd_journal_send(3) does it.
			if file, err = sealedFile(d.buf); err != nil {
				return err
			}
			continue
		case d.cred != nil && (errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPERM)):
			// The payload has gone; or the user namespace is not the first one.
			d.cred, d.oob = nil, nil
			continue
		}
		broken = conn
		if !warned {
			j.warn("send to journal: %v, retrying", err)
			warned = true
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
}

// try makes one attempt, which waits while journald's queue is full. With file
// not negative it is the file that is sent.
func (c *journalConn) try(h *mmsghdr, d *datagram, file int) error {
	if file >= 0 {
		d.oob = append(append([]byte(nil), d.cred...), unix.UnixRights(file)...)
	}
	d.point(h, file < 0)
	var errno unix.Errno
	err := c.rc.Write(func(fd uintptr) bool {
		_, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(h)), 1,
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	runtime.KeepAlive(d)
	switch {
	case err != nil:
		return err
	case errno != 0:
		return errno
	}
	return nil
}

// point fills in the header. The length that the kernel will report is left
// alone.
func (d *datagram) point(h *mmsghdr, data bool) {
	h.name, h.namelen, h.flags = 0, 0, 0
	h.iov, h.iovlen, h.control, h.controllen = 0, 0, 0, 0
	if data {
		d.iov.Base = &d.buf[0]
		d.iov.SetLen(len(d.buf))
		h.iov, h.iovlen = uintptr(unsafe.Pointer(&d.iov)), 1
	}
	if len(d.oob) > 0 {
		h.control, h.controllen = uintptr(unsafe.Pointer(&d.oob[0])), uintptr(len(d.oob))
	}
}

// sealedFile returns a memory file with data that can no longer be changed.
func sealedFile(data []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate("cleat-journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make file for journal entry: %w", err)
	}
	for off := 0; off < len(data) && err == nil; {
		var n int
		n, err = unix.Pwrite(fd, data[off:], int64(off))
		off += n
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("fill file for journal entry: %w", err)
	}
	return fd, nil
}
