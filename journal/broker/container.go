package broker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/journal/stdio"
)

// Times that a broker which has just been started again grants the clients of
// its predecessor: for the output to wait for them, and until a stdin that
// should end with its client does.
const (
	returnTime = time.Second
	stdinTime  = 10 * time.Second
)

// container is one run of a container.
type container struct {
	b       *Broker
	reg     stdio.Registration
	name    uint64 // in the store: see storeName
	payload *payload
	streams []*stream

	ready chan struct{} // closed when the output may be read
	done  chan struct{} // closed when all streams have ended

	mu       sync.Mutex
	clients  []*client // replaced, never changed in place
	expected int       // clients that have to return before ready is closed
	open     int       // streams that have not ended
	stdin    *os.File  // write end of a stdin pipe, nil if there is none or it was closed
	quick    bool      // the end is being drained
	closed   bool      // the stages are no longer there
}

// adopt attaches cl: it gets the output from now on. It tells whether there may
// be more output.
func (c *container) adopt(cl *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.open == 0 {
		return false
	}
	list := append([]*client(nil), c.clients...)
	c.clients = append(list, cl)
	first := c.streams[0].st
	first.set(wordClients, uint64(len(c.clients)))
	if cl.req.Stdin && c.reg.StdinOnce {
		first.set(wordStdinUser, 1)
	}
	if c.reg.TTY {
		if err := stdio.SetSize(c.streams[0].src, cl.req.Size); err != nil {
			c.b.warn("%s: %v, ignoring", c.reg.Name, err)
		}
	}
	cl.tryPush(c.startMessage(cl)) // the queue is empty: there is room
	if c.quick {
		cl.hurry()
	}
	c.checkReady()
	return true
}

// startMessage holds the input descriptor if the client asked for it. The
// caller holds mu.
func (c *container) startMessage(cl *client) item {
	input := c.stdin
	if c.reg.TTY {
		input = c.streams[0].src
	}
	it := item{fd: -1}
	if cl.req.Stdin && input != nil {
		it.fd = duplicate(input)
	}
	msg, err := stdio.EncodeFrame(stdio.FrameStarted, stdio.Started{TTY: c.reg.TTY, Stdin: it.fd >= 0})
	if err != nil {
		msg = stdio.EncodeError(err)
	}
	it.msg = msg
	return it
}

// duplicate returns a new descriptor for f, or -1.
func duplicate(f *os.File) int {
	fd := -1
	rc, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	err = rc.Control(func(old uintptr) {
		if n, dErr := unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); dErr == nil {
			fd = n
		}
	})
	if err != nil {
		return -1
	}
	return fd
}

// remove detaches cl, which is gone.
func (c *container) remove(cl *client) {
	c.mu.Lock()
	var list []*client
	for _, other := range c.clients {
		if other != cl {
			list = append(list, other)
		}
	}
	c.clients = list
	if !c.closed {
		c.streams[0].st.set(wordClients, uint64(len(list)))
	}
	c.mu.Unlock()
	if cl.req.Stdin {
		c.inputEnded()
	}
}

// inputEnded handles the end of a client's input.
func (c *container) inputEnded() {
	if c.reg.StdinOnce && !c.reg.TTY {
		c.closeStdin()
	}
}

// closeStdin lets the payload see the end of its stdin.
func (c *container) closeStdin() {
	c.mu.Lock()
	stdin := c.stdin
	c.stdin = nil
	c.mu.Unlock()
	if stdin == nil {
		return
	}
	c.b.forgetName(storeName(c.name) + stdinSuffix)
	_ = stdin.Close()
	select {
	case <-c.done:
		c.b.forget(c)
	default:
	}
}

// broadcast copies output to the clients that want it.
func (c *container) broadcast(ctx context.Context, frame byte, data []byte) {
	c.mu.Lock()
	clients := c.clients
	c.mu.Unlock()
	if len(clients) == 0 {
		return
	}
	for len(data) > 0 {
		n := min(len(data), stdio.MaxFrame-1)
		msg := append(append(make([]byte, 0, n+1), frame), data[:n]...)
		for _, cl := range clients {
			if cl.wants(frame) {
				cl.push(ctx, item{msg: msg, fd: -1})
			}
		}
		data = data[n:]
	}
}

// checkReady lets the output begin once nobody has to be waited for. The caller
// holds mu.
func (c *container) checkReady() {
	select {
	case <-c.ready:
	default:
		if len(c.clients) >= c.expected {
			close(c.ready)
		}
	}
}

// start begins to read the output.
func (c *container) start(ctx context.Context) {
	c.mu.Lock()
	c.checkReady()
	c.mu.Unlock()
	for _, s := range c.streams {
		c.b.wg.Go(func() { s.run(ctx) })
	}
}

// streamEnded tells the clients when the last stream has ended.
func (c *container) streamEnded() {
	c.mu.Lock()
	c.open--
	clients, last, stdin := c.clients, c.open == 0, c.stdin
	c.mu.Unlock() // adopt attaches nobody any more if it was the last
	if !last {
		return
	}
	for _, cl := range clients {
		cl.end([]byte{stdio.FrameEnd})
	}
	close(c.done)
	if stdin == nil || !hasReader(stdin) {
		c.b.forget(c)
	}
	// Else the payload still reads its stdin: a drain tells when it has ended.
}

// hasReader tells whether some process can read what is written to the pipe f.
func hasReader(f *os.File) bool {
	has := false
	rc, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, pErr := unix.Poll(fds, 0)
		has = pErr == nil && fds[0].Revents&unix.POLLERR == 0
	})
	return err == nil && has
}

// hurry keeps clients that do not read from holding up the end.
func (c *container) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quick = true
	for _, cl := range c.clients {
		cl.hurry()
	}
}

// endStreams ends streams that are held open.
func (c *container) endStreams() {
	for _, s := range c.streams {
		s.end()
	}
}

func (c *container) status() stdio.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := stdio.Status{
		ID: c.reg.ID, Name: c.reg.Name, Unit: c.reg.Unit, PID: c.reg.PID, TTY: c.reg.TTY,
		Open: c.open, Stdin: c.stdin != nil, Clients: len(c.clients),
	}
	for _, s := range c.streams {
		if !c.closed {
			st.PendingBytes += s.st.pendingBytes()
		}
	}
	return st
}

// close closes all descriptors; the streams have ended.
func (c *container) close() error {
	c.payload.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var err error
	if c.stdin != nil {
		err = c.stdin.Close()
		c.stdin = nil
	}
	for _, s := range c.streams {
		err = errors.Join(err, s.close())
	}
	return err
}

// sameSource tells whether the run's first stream is the one that fd reads.
func (c *container) sameSource(fd int) bool {
	id, err := sourceID(fd)
	return err == nil && id == c.streams[0].st.get(wordSource)
}

func decodeMeta(st *stage) (reg stdio.Registration, err error) {
	err = json.Unmarshal(st.meta(), &reg)
	return reg, err
}
