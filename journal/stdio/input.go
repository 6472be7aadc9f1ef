package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/spec"
)

// spliceBytes is how much one splice call asks for; a pipe holds less.
const spliceBytes = 1 << 20

// copyBytes is the size of the buffer where splicing does not work.
const copyBytes = 64 << 10

// waitInput waits until the container has started and returns its input.
func (s *Session) waitInput(ctx context.Context) (*os.File, error) {
	select {
	case <-s.start:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.eof:
		return nil, os.ErrClosed
	case s.input == nil:
		return nil, fmt.Errorf("input of %s: container does not take any: %w", s.req.ID, spec.ErrConflict)
	}
	return s.input, nil
}

// WriteStdin writes p to the container's stdin or terminal, waiting for the
// start and while the container does not read. When the container has closed its
// stdin, or ended, the error matches unix.EPIPE. Close ends a write under way.
func (s *Session) WriteStdin(ctx context.Context, p []byte) (int, error) {
	f, err := s.waitInput(ctx)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(p)
	if err != nil {
		return n, fmt.Errorf("write to container: %w", err)
	}
	return n, nil
}

// CopyStdin waits for the start and feeds src to the container until src ends;
// the caller then calls CloseStdin. Out of pipes and files no byte is copied. That
// the container no longer reads is no error, as in a shell's pipeline. Close does
// not end it, and a read of src that is no pipe or file cannot be interrupted: a
// client whose container has ended leaves the goroutine behind and exits, or
// closes src.
func (s *Session) CopyStdin(ctx context.Context, src io.Reader) error {
	dst, err := s.waitInput(ctx)
	if err != nil {
		return err
	}
	if f, ok := src.(*os.File); ok && !s.tty && canSplice(f) {
		err = spliceAll(dst, f)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, copyBytes))
	}
	if errors.Is(err, unix.EPIPE) || s.tty && errors.Is(err, unix.EIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy input to container: %w", err)
	}
	return nil
}

// CloseStdin says that the input has ended. A container that was registered with
// StdinOnce sees the end of its stdin when it has read the rest; a terminal and
// the stdin of other containers stay open. It may be called before the start.
func (s *Session) CloseStdin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.eof {
		return nil
	}
	s.eof = true
	if !s.isStarted() {
		return nil // started does it
	}
	return s.endInput()
}

// endInput closes this client's end and tells the broker, which holds another.
// The caller holds mu. That the broker has just gone is no error: recover
// repeats the message.
func (s *Session) endInput() error {
	if s.tty {
		return nil
	}
	err := s.closeInput()
	if sErr := s.conn.Send([]byte{FrameCloseStdin}); sErr != nil && !seqpacket.Lost(sErr) {
		err = errors.Join(err, sErr)
	}
	return err
}

// canSplice tells whether f can be the source of a splice into a pipe.
func canSplice(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && (st.Mode().IsRegular() || st.Mode()&os.ModeNamedPipe != 0)
}

// spliceAll moves src to the pipe dst until src ends.
func spliceAll(dst, src *os.File) error {
	out, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	in, err := src.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	outErr := out.Control(func(w uintptr) {
		inErr := in.Control(func(r uintptr) { opErr = spliceLoop(int(w), int(r)) })
		opErr = seqpacket.FirstError(opErr, inErr)
	})
	return seqpacket.FirstError(opErr, outErr)
}

// spliceLoop blocks a thread while there is nothing to do: the source is shared
// with processes that do not expect it to become non-blocking, as the runtime's
// poller would need it.
func spliceLoop(w, r int) error {
	for {
		n, err := unix.Splice(r, nil, w, nil, spliceBytes, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if err := waitReady(w, r); err != nil {
				return err
			}
		case err != nil:
			return err
		case n == 0:
			return nil
		}
	}
}

// waitReady waits until r has data, or the reader of w has gone, and then until
// w has room.
func waitReady(w, r int) error {
	both := []unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}, {Fd: int32(w)}}
	if _, err := unix.Poll(both, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	if both[1].Revents&unix.POLLERR != 0 {
		return unix.EPIPE
	}
	room := []unix.PollFd{{Fd: int32(w), Events: unix.POLLOUT}}
	if _, err := unix.Poll(room, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}
