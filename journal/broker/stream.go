package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/stdio"
)

// cutBytes is the most that is still read of a stream that is cut off. A pipe's
// content can be no more unless root has raised /proc/sys/fs/pipe-max-size.
const cutBytes = 1 << 20

// stream is one output of a container: a pipe, or a terminal.
type stream struct {
	c    *container
	src  *os.File
	rc   syscall.RawConn
	mid  int // of a terminal: the pipe between it and the stage, else -1
	st   *stage
	term bool

	constant []byte // journal fields that are the same in every entry

	cut     atomic.Bool // take what is there and then end
	cutLeft int
}

// newStream makes the stream of src, which must be non-blocking; st belongs to
// it.
func newStream(c *container, src *os.File, mid int, st *stage) (*stream, error) {
	rc, err := src.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{c: c, src: src, rc: rc, mid: mid, st: st, term: c.reg.TTY, cutLeft: cutBytes}
	priority := journal.PriorityStdout
	if s.frame() == stdio.FrameStderr {
		priority = journal.PriorityStderr
	}
	s.constant, err = constantFields(c.reg.Unit, priority, c.reg.Fields)
	return s, err
}

func (s *stream) frame() byte { return byte(s.st.get(wordFrame)) }

// run moves the stream's output until its end and tells the container, or until
// ctx is done.
func (s *stream) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.src.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	select {
	case <-s.c.ready:
	case <-ctx.Done():
		return
	}
	if s.st.get(wordEnded) == 0 {
		err := s.pump(ctx)
		if ctx.Err() != nil {
			return // the next broker goes on
		}
		if err != nil {
			s.c.b.warn("output of %s: %v, ending it", s.c.reg.Name, err)
		}
		s.st.set(wordEnded, 1)
	}
	// From now on a payload that still writes gets EPIPE, as from any reader
	// that has ended.
	s.c.streamEnded()
}

func (s *stream) pump(ctx context.Context) error {
	for {
		if err := s.log(ctx, false); err != nil {
			return err
		}
		n, err := s.fill()
		switch {
		case err == nil:
			s.c.broadcast(ctx, s.frame(), s.st.bytes(int(s.st.pos.Load())-n, n))
		case errors.Is(err, io.EOF):
			return s.log(ctx, true)
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && s.cut.Load():
		default:
			return err
		}
	}
}

// end makes a stream that somebody holds open end.
func (s *stream) end() {
	s.cut.Store(true)
	_ = s.src.SetReadDeadline(time.Unix(1, 0))
}

// fill takes output into the stage, waiting for it. The end is io.EOF.
func (s *stream) fill() (n int, err error) {
	if err := s.st.makeRoom(); err != nil {
		return 0, err
	}
	if s.cut.Load() {
		return s.fillLast()
	}
	rErr := s.rc.Read(func(fd uintptr) bool {
		n, err = s.take(int(fd))
		if !isRetry(err) {
			return true
		}
		if tErr := s.st.trim(); tErr != nil {
			err = tErr
			return true
		}
		return false
	})
	if rErr != nil {
		return 0, rErr
	}
	return n, err
}

// fillLast takes what is there without waiting.
func (s *stream) fillLast() (n int, err error) {
	if s.cutLeft <= 0 {
		return 0, io.EOF
	}
	cErr := s.rc.Control(func(fd uintptr) { n, err = s.take(int(fd)) })
	if isRetry(err) {
		err = io.EOF
	}
	s.cutLeft -= n
	return n, errors.Join(cErr, err)
}

func isRetry(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// take moves bytes from fd to the stage without waiting.
func (s *stream) take(fd int) (n int, err error) {
	if s.mid >= 0 {
		return s.takeTerminal(fd)
	}
	if n, err = s.st.fill(fd); err != nil {
		return 0, wrapSplice(err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// takeTerminal goes through a pipe, which one end of a splice has to be. What a
// killed broker left in the pipe goes first.
func (s *stream) takeTerminal(fd int) (n int, err error) {
	n, err = s.st.fill(s.mid)
	if !isRetry(err) {
		return n, wrapSplice(err)
	}
	_, err = unix.Splice(fd, nil, s.mid, nil, fillBytes, unix.SPLICE_F_NONBLOCK)
	if errors.Is(err, unix.EIO) {
		return 0, io.EOF // no process has the terminal open
	}
	if err != nil {
		return 0, wrapSplice(err)
	}
	n, err = s.st.fill(s.mid)
	return n, wrapSplice(err)
}

func wrapSplice(err error) error {
	if err == nil || isRetry(err) {
		return err
	}
	return fmt.Errorf("read output: %w", err)
}

// log sends the pending lines to the journal, and at eof also the rest.
func (s *stream) log(ctx context.Context, eof bool) error {
	if !s.c.reg.Log {
		s.st.discard()
		return nil
	}
	if s.st.pendingBytes() == 0 {
		return nil
	}
	d := datagrams.Get().(*datagram)
	defer datagrams.Put(d)
	stamp := timestamp(time.Now())
	for {
		n, part := s.entry(d, stamp, eof)
		if n == 0 {
			return nil
		}
		d.cred = s.c.payload.credentials()
		s.st.prepare(n, part)
		if err := s.c.b.journal.send(ctx, s.st.header(), d); err != nil {
			return err
		}
		s.st.commit()
	}
}

// entry fills d with the first pending entry and returns how many pending bytes
// it stands for, 0 if there is none, and how many parts of a line will then be
// sent.
//
// The native protocol allows many entries in one datagram, but since version 253
// journald takes the first one only and drops the rest: its check of a unit's log
// filters returns 1 for "keep", which ends the loop over the datagram.
func (s *stream) entry(d *datagram, stamp []byte, eof bool) (n int, part uint64) {
	p, ok := nextPiece(s.st.pending(), s.st.get(wordPart), eof)
	if !ok {
		return 0, 0
	}
	if p.part == 1 {
		s.st.newPartID()
	}
	id := ""
	if p.part > 0 {
		id = s.st.partID()
	}
	d.buf = appendEntry(d.buf[:0], p, s.constant, stamp, id)
	return p.size, p.partsSent()
}

func (s *stream) close() error { return errors.Join(s.src.Close(), s.closeStage()) }
