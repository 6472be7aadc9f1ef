package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// channel is the SOCK_SEQPACKET connection between a process and the child that
// it makes a container's process of. The child's end closes when the child
// execs, which tells the parent that it has.
type channel int

// The first byte of a message is its kind.
const (
	msgTerminal = 'T' // to the parent: the master of the terminal comes with it
	msgWarning  = 'W' // to the parent: a sentence
	msgReady    = 'R' // to the parent: all is set up but for the exec
	msgError    = 'E' // to the parent: an exit code and a sentence; the last message
	msgGo       = 'G' // to the child: exec
)

// maxMessage is the length of the longest message, in bytes. Longer sentences
// are cut.
const maxMessage = 4096

// childFd is where a child finds its end, unless it is given sockets: those come
// first.
const childFd = 3

// newChannel returns both ends.
func newChannel() (parent, child channel, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make channel: %w", err)
	}
	return channel(p[0]), channel(p[1]), nil
}

// inheritedChannel returns the child's end in the child, which lies at fd.
func inheritedChannel(fd int) channel {
	unix.CloseOnExec(fd)
	return channel(fd)
}

func (c channel) close() { closeFd(int(c)) }

func (c channel) send(kind byte, text string, fds ...int) error {
	msg := append([]byte{kind}, text...)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	err := eintr(func() error {
		return unix.Sendmsg(int(c), msg[:min(len(msg), maxMessage)], oob, nil, unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return fmt.Errorf("send %q: %w", kind, err)
	}
	return nil
}

// message is what recv returns. The zero kind means that the other end closed.
type message struct {
	kind byte
	text string
	fd   int // -1 for none
}

func (c channel) recv() (message, error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	err := eintr(func() (err error) {
		n, oobn, _, _, err = unix.Recvmsg(int(c), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if errors.Is(err, unix.ECONNRESET) { // closed with a message of ours unread
		return message{fd: -1}, nil
	}
	if err != nil {
		return message{fd: -1}, fmt.Errorf("receive: %w", err)
	}
	m := message{fd: -1}
	if n > 0 {
		m.kind, m.text = buf[0], string(buf[1:n])
	}
	if oobn > 0 {
		m.fd, err = oneRight(oob[:oobn])
	}
	return m, err
}

func oneRight(oob []byte) (int, error) {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(cmsgs) != 1 {
		return -1, fmt.Errorf("parse control message: %w", errors.Join(err, unix.EBADMSG))
	}
	fds, err := unix.ParseUnixRights(&cmsgs[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("parse descriptors: %w", errors.Join(err, unix.EBADMSG))
	}
	return fds[0], nil
}

// sendError reports err to the parent. If that has gone, nobody is left to tell.
func (c channel) sendError(err error) {
	_ = c.send(msgError, string([]byte{byte(ExitOf(err))})+err.Error())
}

// warn tells the parent about something that is no reason to stop.
func (c channel) warn(sentence string) { _ = c.send(msgWarning, sentence) }

// awaitClose returns once the other end has closed.
func (c channel) awaitClose() {
	for {
		if m, err := c.recv(); err != nil || m.kind == 0 {
			return
		}
	}
}

// childError turns the text of a msgError back into an error.
func childError(text string) error {
	if text == "" {
		return errDied
	}
	err := errors.New(text[1:])
	if exit := int(text[0]); exit != ExitFailed {
		return &CommandError{exit, err}
	}
	return err
}

// errDied means that the child ended without saying why.
var errDied = errors.New("the process was killed while its container was set up")
