// Package link makes bridges and plugs containers into them, through
// rtnetlink(7). It works in the network namespace of the calling thread, which
// is the host's, and enters a container's only to open a socket there and to
// set the interface's sysctls, on a thread of its own.
package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is a socket of rtnetlink in the network namespace in which it was
// opened. The library's own sockets take one request at a time; this one takes
// several at once, so that a container is plugged in with two system calls on
// each side. It is not safe for concurrent use.
type conn struct {
	fd  int
	seq uint32
}

// request is one message with words for what it does.
type request struct {
	what string
	*nl.NetlinkRequest
}

func newRequest(what string, kind, flags int, data ...nl.NetlinkRequestData) request {
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	for _, d := range data {
		req.AddData(d)
	}
	return request{what, req}
}

// dial opens a conn in the calling thread's network namespace.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Both are refinements: short acknowledgements, and words in them.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &conn{fd: fd}, nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// do sends the requests in one datagram and waits for all of them. The kernel
// goes through them in order and does not stop at one that fails; the first
// error is returned.
func (c *conn) do(reqs ...request) error {
	_, err := c.ask(reqs...)
	return err
}

// ask is do that also returns what came beside the acknowledgements.
func (c *conn) ask(reqs ...request) (answers [][]byte, err error) {
	first := c.seq + 1
	var out []byte
	for _, r := range reqs {
		c.seq++
		r.Seq = c.seq
		out = append(out, r.Serialize()...)
	}
	if err := unix.Sendto(c.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("%s: %w", reqs[0].what, err)
	}
	buf := make([]byte, 32<<10)
	for acks := 0; acks < len(reqs); {
		n, _, rerr := unix.Recvfrom(c.fd, buf, 0)
		if errors.Is(rerr, unix.EINTR) {
			continue
		}
		if rerr != nil {
			return nil, fmt.Errorf("receive from rtnetlink: %w", rerr)
		}
		for _, m := range messages(buf[:n]) {
			if m.kind != unix.NLMSG_ERROR {
				answers = append(answers, bytes.Clone(m.body))
				continue
			}
			acks++
			if i := int(m.seq - first); err == nil && i >= 0 && i < len(reqs) {
				err = m.failure(reqs[i].what)
			}
		}
	}
	return answers, err
}

// message is one that came from the kernel, see netlink(7).
type message struct {
	kind  uint16
	flags uint16
	seq   uint32
	body  []byte
}

func messages(b []byte) []message {
	var all []message
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			break
		}
		all = append(all, message{
			kind:  binary.NativeEndian.Uint16(b[4:]),
			flags: binary.NativeEndian.Uint16(b[6:]),
			seq:   binary.NativeEndian.Uint32(b[8:]),
			body:  b[unix.SizeofNlMsghdr:size],
		})
		b = b[min((size+3)&^3, len(b)):]
	}
	return all
}

// failure returns the error of an acknowledgement, or nil if all went well. The
// kernel's own words are added where it has any.
func (m message) failure(what string) error {
	if len(m.body) < 4 {
		return fmt.Errorf("%s: short acknowledgement", what)
	}
	errno := -int32(binary.NativeEndian.Uint32(m.body))
	if errno == 0 {
		return nil
	}
	if words := m.words(); words != "" {
		return fmt.Errorf("%s: %s: %w", what, words, unix.Errno(errno))
	}
	return fmt.Errorf("%s: %w", what, unix.Errno(errno))
}

// words returns the text of an extended acknowledgement. A capped one has only
// the header of the request between the error and the attributes.
func (m message) words() string {
	const head = 4 + unix.SizeofNlMsghdr
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || m.flags&unix.NLM_F_CAPPED == 0 || len(m.body) < head {
		return ""
	}
	attrs, err := nl.ParseRouteAttr(m.body[head:])
	if err != nil {
		return ""
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.NLMSGERR_ATTR_MSG {
			return nl.BytesToString(a.Value)
		}
	}
	return ""
}
