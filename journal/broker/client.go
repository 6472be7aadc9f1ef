package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

const (
	// queueBytes is how much output waits in the broker for one client, beside
	// what is in its socket. Beyond it the container waits.
	queueBytes = 256 << 10
	// hurryBytes is the same for a container whose end is being drained: what
	// is left in its pipes fits, so that a slow client does not hold up the
	// drain and still gets everything.
	hurryBytes = 4 << 20
	// lingerTime is how long a client may keep its connection after the last
	// message. It is not closed at once: were a message from the client still
	// unread then, the kernel would drop what the client has not received.
	lingerTime = time.Minute
)

// item is a message on its way to a client.
type item struct {
	msg []byte
	fd  int // to send along and then close, or -1
}

// client is an attached connection. One goroutine, in serve.go, receives from
// it; run sends.
type client struct {
	conn     *seqpacket.Conn
	req      stdio.AttachRequest
	attached *container // nil while it waits for a start; Broker.mu guards it

	mu    sync.Mutex
	queue []item
	bytes int  // in queue and being sent
	quick bool // in a hurry: see hurryBytes
	cut   bool // nothing more is taken: it ended, was too slow, or is gone

	work chan struct{} // holds a token when queue may have items
	room chan struct{} // holds a token when a push may go on
	gone chan struct{} // closed when the connection has ended
	once sync.Once
}

func newClient(conn *seqpacket.Conn, req stdio.AttachRequest) *client {
	if req.Patience == 0 {
		req.Patience = stdio.DefaultPatience
	}
	return &client{
		conn: conn, req: req,
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wants tells whether the client asked for frames of type t.
func (c *client) wants(t byte) bool {
	return t == stdio.FrameStdout && c.req.Stdout || t == stdio.FrameStderr && c.req.Stderr
}

// push queues a message, waiting while the queue is full, but not longer than
// the client's patience.
func (c *client) push(ctx context.Context, it item) {
	if c.tryPush(it) {
		return
	}
	var late <-chan time.Time
	if c.req.Patience > 0 {
		t := time.NewTimer(c.req.Patience)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case <-c.room:
		case <-late:
			c.end(stdio.EncodeError(fmt.Errorf("output was not read for %s: %w", c.req.Patience, spec.ErrConflict)))
		case <-c.gone:
			return
		case <-ctx.Done():
			c.force(it) // it was read; the next broker will not send it
			return
		}
		if c.tryPush(it) {
			poke(c.room) // for the container's other stream
			return
		}
	}
}

// tryPush tells whether the item was queued, or need not be.
func (c *client) tryPush(it item) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		closeItems([]item{it})
		return true
	}
	if c.bytes > 0 && c.bytes+len(it.msg) > queueBytes && !c.quick {
		return false
	}
	if c.bytes+len(it.msg) > hurryBytes {
		c.endLocked(stdio.EncodeError(fmt.Errorf("output was not read before its end: %w", spec.ErrConflict)))
		return true
	}
	c.put(it)
	return true
}

// force queues the item although the queue is full.
func (c *client) force(it item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		closeItems([]item{it})
		return
	}
	c.put(it)
}

func (c *client) put(it item) {
	c.queue = append(c.queue, it)
	c.bytes += len(it.msg)
	poke(c.work)
}

// hurry lets the queue grow, since the container has died.
func (c *client) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quick = true
	poke(c.room)
}

// end queues the last message; what was queued before is sent first.
func (c *client) end(last []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(last)
}

func (c *client) endLocked(last []byte) {
	if c.cut {
		return
	}
	c.cut = true
	c.put(item{msg: last, fd: -1})
	poke(c.room)
}

// idle tells whether everything that was queued has been sent.
func (c *client) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes == 0
}

// flush waits until everything has been sent, but not longer than deadline.
func (c *client) flush(deadline time.Time) {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	for !c.idle() {
		select {
		case <-c.room:
		case <-c.gone:
			return
		case <-t.C:
			return
		}
	}
}

// run sends the queue until the connection ends.
func (c *client) run() {
	defer c.drop()
	for {
		select {
		case <-c.work:
		case <-c.gone:
			return
		}
		c.mu.Lock()
		queue := c.queue
		c.queue = nil
		c.mu.Unlock()
		for i, it := range queue {
			err := c.send(it)
			if err != nil {
				closeItems(queue[i+1:])
				c.leave()
				return
			}
		}
	}
}

func (c *client) send(it item) error {
	var fds []int
	if it.fd >= 0 {
		fds = []int{it.fd}
		defer unix.Close(it.fd)
	}
	err := c.conn.Send(it.msg, fds...)
	c.mu.Lock()
	c.bytes -= len(it.msg)
	finished := c.cut && c.bytes == 0
	c.mu.Unlock()
	poke(c.room)
	if finished && err == nil {
		err = c.conn.SetDeadline(time.Now().Add(lingerTime))
	}
	return err
}

// leave marks the connection as ended; nobody waits for the client any more.
func (c *client) leave() {
	c.once.Do(func() {
		c.mu.Lock()
		c.cut = true
		c.mu.Unlock()
		close(c.gone)
		_ = c.conn.Close()
	})
}

// drop closes the descriptors of what was not sent.
func (c *client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeItems(c.queue)
	c.queue, c.bytes = nil, 0
}

func closeItems(items []item) {
	for _, it := range items {
		if it.fd >= 0 {
			_ = unix.Close(it.fd)
		}
	}
}
