package broker

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// takeOver makes containers of what an earlier broker left in the store.
func (b *Broker) takeOver(stored []Stored) {
	groups := map[string]*leftover{}
	for _, s := range stored {
		name, isStdin := strings.CutSuffix(s.Name, stdinSuffix)
		l := groups[name]
		if l == nil {
			l = &leftover{stdin: -1}
			groups[name] = l
		}
		if isStdin {
			l.stdin = s.FD
		} else {
			l.fds = append(l.fds, s.FD)
		}
	}
	for name, l := range groups {
		if err := b.restore(name, l); err != nil {
			b.warn("take over %q from store: %v, dropping it", name, err)
			b.forgetName(name)
			b.forgetName(name + stdinSuffix)
		}
	}
}

// leftover is what the store holds of one container.
type leftover struct {
	stdin int   // -1 if there is none
	fds   []int // outputs, stages, and the pipe of a terminal, in any order

	stages  []*stage
	sources map[uint64]int // outputs by sourceID
}

// restore makes a container of l. It takes over the descriptors, also when it
// fails.
func (b *Broker) restore(name string, l *leftover) error {
	n, err := strconv.ParseUint(name, nameDigits, 64)
	if err == nil {
		err = l.sort()
	}
	if err != nil {
		l.close()
		return err
	}
	reg, err := decodeMeta(l.stages[0])
	if err != nil {
		l.close()
		return fmt.Errorf("decode registration: %w", err)
	}
	c := b.emptyContainer(reg, n)
	c.payload, _ = newPayload(reg.PID, l.stages[0].get(wordPID))
	if err := l.fillStreams(c); err != nil {
		l.close()
		return err
	}
	if l.stdin >= 0 {
		c.stdin = os.NewFile(uintptr(l.stdin), "container stdin")
	}
	c.open = len(c.streams)
	c.noteClients()
	b.insert(c)
	return nil
}

// insert makes c known; of several runs of one container the one that was
// registered last, which is still being written to, is the current one.
func (b *Broker) insert(c *container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names[c.name] = struct{}{}
	b.all[c] = struct{}{}
	old := b.current[c.reg.ID]
	if old == nil || old.streams[0].st.get(wordSerial) < c.streams[0].st.get(wordSerial) {
		b.current[c.reg.ID] = c
	}
}

// sort tells the descriptors apart.
func (l *leftover) sort() error {
	l.sources = map[uint64]int{}
	for _, fd := range l.fds {
		if id, err := sourceID(fd); err == nil {
			l.sources[id] = fd
			continue
		}
		st, err := openStage(fd)
		if err != nil {
			return err
		}
		l.stages = append(l.stages, st)
	}
	if len(l.stages) == 0 {
		return fmt.Errorf("no stage among %d descriptors: %w", len(l.fds), spec.ErrInvalid)
	}
	slices.SortFunc(l.stages, func(a, b *stage) int { return cmp.Compare(a.get(wordFrame), b.get(wordFrame)) })
	return nil
}

// fillStreams makes c's streams.
func (l *leftover) fillStreams(c *container) (err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, s := range c.streams {
			_ = s.close()
		}
	}()
	for len(l.stages) > 0 {
		s, err := l.nextStream(c)
		if err != nil {
			return err
		}
		c.streams = append(c.streams, s)
	}
	return nil
}

// nextStream makes a stream of the first stage, which with what belongs to it is
// the stream's from then on.
func (l *leftover) nextStream(c *container) (*stream, error) {
	st := l.stages[0]
	fd, ok := l.sources[st.get(wordSource)]
	if !ok {
		return nil, fmt.Errorf("source %#x of a stage is missing: %w", st.get(wordSource), spec.ErrInvalid)
	}
	mid := -1
	if c.reg.TTY {
		if mid = l.terminalPipe(fd); mid < 0 {
			return nil, fmt.Errorf("pipe of the terminal is missing: %w", spec.ErrInvalid)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	l.stages = l.stages[1:]
	l.fds = slices.DeleteFunc(l.fds, func(n int) bool { return n == fd || n == mid || n == st.fd })
	src := os.NewFile(uintptr(fd), "container stdio")
	s, err := newStream(c, src, mid, st)
	if err != nil {
		return nil, errors.Join(err, src.Close(), st.close())
	}
	return s, nil
}

// terminalPipe returns the descriptor that is neither stage nor terminal.
func (l *leftover) terminalPipe(terminal int) int {
	for _, fd := range l.sources {
		if fd != terminal {
			return fd
		}
	}
	return -1
}

func (l *leftover) close() {
	for _, st := range l.stages {
		_ = unix.Munmap(st.mem)
	}
	closeFDs(l.fds)
	if l.stdin >= 0 {
		_ = unix.Close(l.stdin)
	}
}

// noteClients has the output wait for the clients of the last broker, and a
// stdin end whose client does not come back.
func (c *container) noteClients() {
	first := c.streams[0].st
	c.expected = int(first.get(wordClients))
	if c.expected > 0 {
		time.AfterFunc(returnTime, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.expected = 0
			c.checkReady()
		})
	}
	if c.stdin != nil && first.get(wordStdinUser) == 1 {
		time.AfterFunc(stdinTime, func() {
			if !c.hasStdinClient() {
				c.inputEnded()
			}
		})
	}
}

func (c *container) hasStdinClient() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cl := range c.clients {
		if cl.req.Stdin {
			return true
		}
	}
	return false
}
