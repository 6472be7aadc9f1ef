package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

// requestTime is how long a new connection may take to make its request.
const requestTime = 10 * time.Second

// handle serves one connection.
func (b *Broker) handle(ctx context.Context, conn *seqpacket.Conn) {
	stop := conn.Bind(ctx)
	verb, obj, fds, err := b.request(conn)
	defer func() { closeFDs(fds) }()
	if err == nil && verb == stdio.VerbAttach {
		stop() // shutDown ends attached connections, when their queue is empty
		err = b.attach(ctx, conn, obj)
		if err == nil {
			return
		}
	} else if err == nil {
		defer stop()
		var taken bool
		taken, err = b.call(ctx, conn, verb, obj, fds)
		if taken {
			fds = nil
		}
	}
	switch {
	case errors.Is(err, io.EOF) || ctx.Err() != nil:
		// Nobody is there to be told, or will ask again.
	case err != nil:
		_ = conn.Send(stdio.EncodeError(err))
	default:
		_ = conn.Send([]byte{stdio.FrameOK})
	}
}

// request reads a connection's first message and checks who sent it.
func (b *Broker) request(conn *seqpacket.Conn) (verb byte, obj []byte, fds []int, err error) {
	t := time.AfterFunc(requestTime, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	n, err := conn.NextSize()
	if !t.Stop() && err == nil {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		return 0, nil, nil, err
	}
	if n > stdio.MaxRequest {
		return 0, nil, nil, fmt.Errorf("request of %d bytes: %w", n, spec.ErrInvalid)
	}
	msg := make([]byte, max(n, 1))
	n, fds, err = conn.Recv(msg)
	if err != nil {
		return 0, nil, nil, err
	}
	// Only now: a connection that is closed with an unread message would lose
	// the answer.
	if err := b.checkPeer(conn); err != nil {
		return 0, nil, fds, err
	}
	verb, obj, err = stdio.DecodeRequest(msg[:n])
	return verb, obj, fds, err
}

func (b *Broker) checkPeer(conn *seqpacket.Conn) error {
	uid, err := conn.PeerUID()
	if err == nil && uid != b.cfg.PeerUID {
		err = fmt.Errorf("user %d may not use the stdio broker: %w", uid, spec.ErrDenied)
	}
	return err
}

// call serves every verb but attach. Taken says that the descriptors have a new
// owner.
func (b *Broker) call(ctx context.Context, conn *seqpacket.Conn, verb byte, obj []byte, fds []int) (taken bool, err error) {
	switch verb {
	case stdio.VerbRegister:
		var reg stdio.Registration
		if err := decode(obj, &reg); err != nil {
			return false, err
		}
		return b.add(ctx, reg, fds)
	case stdio.VerbDrain:
		var req stdio.DrainRequest
		if err := decode(obj, &req); err != nil {
			return false, err
		}
		return false, b.drain(ctx, conn, req)
	case stdio.VerbResize:
		var req stdio.ResizeRequest
		if err := decode(obj, &req); err != nil {
			return false, err
		}
		return false, b.resize(req)
	case stdio.VerbList:
		return false, b.list(conn)
	}
	return false, fmt.Errorf("request %q: %w", verb, spec.ErrUnsupport)
}

func decode(obj []byte, v any) error {
	if err := json.Unmarshal(obj, v); err != nil {
		return fmt.Errorf("decode request: %w: %w", err, spec.ErrInvalid)
	}
	return nil
}

// attach serves a client to its end. An error is returned only before the
// client was told that it is attached.
func (b *Broker) attach(ctx context.Context, conn *seqpacket.Conn, obj []byte) error {
	var req stdio.AttachRequest
	if err := decode(obj, &req); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // shutDown may have been before handle's stop
	}
	cl := newClient(conn, req)
	cl.tryPush(item{msg: []byte{stdio.FrameOK}, fd: -1})
	b.admit(cl)
	defer b.dismiss(ctx, cl)
	b.wg.Go(cl.run)
	buf := make([]byte, 16)
	for { // until the client goes, or shutDown sees its queue empty
		n, fds, err := conn.Recv(buf)
		closeFDs(fds)
		if err != nil {
			return nil // that is how a session ends
		}
		if n > 0 && buf[0] == stdio.FrameCloseStdin && cl.req.Stdin {
			if c := b.runOf(cl); c != nil {
				c.inputEnded()
			}
		}
	}
}

// admit attaches cl to its container's run, or has it wait for the next one.
func (b *Broker) admit(cl *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.current[cl.req.ID]; c != nil && c.adopt(cl) {
		cl.attached = c
		return
	}
	if cl.req.Resume {
		cl.end([]byte{stdio.FrameEnd})
		return
	}
	b.waiting[cl.req.ID] = append(b.waiting[cl.req.ID], cl)
}

// adoptWaiting attaches the clients that waited for c. The caller holds mu.
func (b *Broker) adoptWaiting(c *container) {
	for _, cl := range b.waiting[c.reg.ID] {
		c.adopt(cl)
		cl.attached = c
	}
	delete(b.waiting, c.reg.ID)
}

func (b *Broker) runOf(cl *client) *container {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cl.attached
}

// dismiss forgets a client whose connection has ended.
func (b *Broker) dismiss(ctx context.Context, cl *client) {
	cl.leave()
	b.mu.Lock()
	c := cl.attached
	if c == nil {
		id := cl.req.ID
		b.waiting[id] = slices.DeleteFunc(b.waiting[id], func(other *client) bool { return other == cl })
		if len(b.waiting[id]) == 0 {
			delete(b.waiting, id)
		}
	}
	b.mu.Unlock()
	// A broker that is shutting down leaves the count of clients, and a stdin
	// that ends with its client, to the next one.
	if c != nil && ctx.Err() == nil {
		c.remove(cl)
	}
}

// drain serves VerbDrain.
func (b *Broker) drain(ctx context.Context, conn *seqpacket.Conn, req stdio.DrainRequest) error {
	c, err := b.find(req.ID)
	if err != nil {
		return nil // nothing is left of it
	}
	gone := make(chan struct{})
	b.wg.Go(func() {
		defer close(gone)
		_, fds, _ := conn.Recv(make([]byte, 1)) // returns when the client goes, or this connection is closed
		closeFDs(fds)
	})
	c.hurry()
	var late <-chan time.Time
	if req.Grace >= 0 {
		t := time.NewTimer(req.Grace)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case <-c.done:
			b.forget(c)
			return nil
		case <-late:
			c.endStreams()
		case <-gone:
			return io.EOF
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *Broker) resize(req stdio.ResizeRequest) error {
	c, err := b.find(req.ID)
	if err != nil {
		return err
	}
	if !c.reg.TTY {
		return fmt.Errorf("container %s has no terminal: %w", c.reg.Name, spec.ErrConflict)
	}
	return stdio.SetSize(c.streams[0].src, req.Size)
}

// list serves VerbList.
func (b *Broker) list(conn *seqpacket.Conn) error {
	for _, st := range b.statuses() {
		msg, err := stdio.EncodeFrame(stdio.FrameItem, st)
		if err != nil {
			return err
		}
		if err := conn.Send(msg); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) statuses() []stdio.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []stdio.Status
	for c := range b.all {
		list = append(list, c.status())
	}
	for id, clients := range b.waiting {
		list = append(list, stdio.Status{ID: id, Clients: len(clients)})
	}
	slices.SortFunc(list, func(a, b stdio.Status) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
