package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/spec"
)

// Times for finding the broker again after it has gone: systemd restarts it
// within some ten milliseconds.
const (
	redialPause = 50 * time.Millisecond
	redialLimit = 10 * time.Second
)

// Frame is one piece of a container's output.
type Frame struct {
	Type byte   // FrameStarted, FrameStdout or FrameStderr
	Data []byte // valid until the next Recv; nil for FrameStarted
}

// Session is a client's attachment to a container. Recv or Copy must be called
// all the time, by one goroutine, also by a client that only sends input: they
// notice the start, the end, and a restart of the broker, which they survive.
// When the broker was killed, output that was under way to this client then may
// be missing or come twice; what the journal holds is exact.
//
// Write, ReadFrom, CloseStdin and Resize may be called from other goroutines.
type Session struct {
	socket string
	req    AttachRequest
	buf    []byte

	mu     sync.Mutex
	conn   *seqpacket.Conn
	closed bool          // Close was called
	eof    bool          // CloseStdin was called
	start  chan struct{} // closed when the container has started, or never will
	input  *os.File      // its stdin or terminal; set before start is closed; nil if there is none
	tty    bool          // set before start is closed
}

// Attach connects to the broker at socket and returns as soon as the broker has
// noted the request. If the container has not started, the session waits for
// its start, so that not one byte of output is missed; closing it is the only
// thing that ends the wait. The caller must Close the session.
func Attach(ctx context.Context, socket string, req AttachRequest) (*Session, error) {
	conn, err := attach(ctx, socket, req)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", req.ID, err)
	}
	return &Session{
		socket: socket, req: req, conn: conn,
		buf: make([]byte, MaxFrame), start: make(chan struct{}),
	}, nil
}

func attach(ctx context.Context, socket string, req AttachRequest) (conn *seqpacket.Conn, err error) {
	msg, err := EncodeRequest(VerbAttach, req)
	if err != nil {
		return nil, err
	}
	for range attempts {
		if conn, err = attachOnce(ctx, socket, msg); !seqpacket.Lost(err) {
			break
		}
	}
	return conn, err
}

func attachOnce(ctx context.Context, socket string, msg []byte) (_ *seqpacket.Conn, err error) {
	conn, err := seqpacket.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	release := conn.Bind(ctx)
	err = conn.Send(msg)
	if err == nil {
		err = seqpacket.Answer(conn, func(msg []byte) (bool, error) { return takeAnswer(msg, nil) })
	}
	release()
	if err != nil {
		return nil, errors.Join(seqpacket.CauseOf(ctx, err), conn.Close())
	}
	return conn, nil
}

// Recv returns the next piece of output, waiting for it until ctx is done. It
// returns io.EOF when the container's output has ended and all of it has been
// received, and os.ErrClosed after Close. An error that matches spec.ErrConflict
// says that the broker gave up waiting for this client to read.
func (s *Session) Recv(ctx context.Context) (Frame, error) {
	for {
		conn, err := s.current()
		if err != nil {
			return Frame{}, err
		}
		release := conn.Bind(ctx)
		n, fds, err := conn.Recv(s.buf)
		release()
		if err != nil {
			if err = s.recover(ctx, conn, err); err != nil {
				return Frame{}, err
			}
			continue
		}
		f, skip, err := s.frame(s.buf[:n], fds)
		if !skip || err != nil {
			return f, err
		}
	}
}

// frame takes in one message. Skip says that it is not for the caller.
func (s *Session) frame(msg []byte, fds []int) (f Frame, skip bool, err error) {
	if msg[0] == FrameStarted {
		first, err := s.started(msg[1:], fds)
		return Frame{Type: FrameStarted}, !first, err
	}
	seqpacket.CloseAll(fds)
	switch msg[0] {
	case FrameStdout, FrameStderr:
		return Frame{Type: msg[0], Data: msg[1:]}, false, nil
	case FrameEnd:
		s.finish()
		return Frame{}, false, io.EOF
	case FrameError:
		s.finish()
		return Frame{}, false, decodeError(msg[1:])
	}
	return Frame{}, true, nil // from a newer broker
}

// started keeps the input that a FrameStarted brings. First is false when the
// message comes once more, from a restarted broker.
func (s *Session) started(payload []byte, fds []int) (first bool, err error) {
	var st Started
	if err := json.Unmarshal(payload, &st); err != nil {
		seqpacket.CloseAll(fds)
		return false, fmt.Errorf("decode start message: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStarted() || s.closed {
		seqpacket.CloseAll(fds)
		return false, nil
	}
	s.tty = st.TTY
	if len(fds) > 0 {
		s.input = os.NewFile(uintptr(fds[0]), "container input")
		seqpacket.CloseAll(fds[1:])
	}
	close(s.start)
	if s.eof {
		return true, s.endInput()
	}
	return true, nil
}

func (s *Session) isStarted() bool {
	select {
	case <-s.start:
		return true
	default:
		return false
	}
}

// finish lets writers that wait for the start fail.
func (s *Session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isStarted() {
		close(s.start)
	}
}

func (s *Session) current() (*seqpacket.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	return s.conn, nil
}

// recover attaches anew if the broker has gone, and returns the error of Recv
// otherwise.
func (s *Session) recover(ctx context.Context, old *seqpacket.Conn, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, cErr := s.current(); cErr != nil {
		return cErr
	}
	if !seqpacket.Lost(err) {
		return fmt.Errorf("receive output of %s: %w", s.req.ID, err)
	}
	conn, err := s.redial(ctx)
	if err != nil {
		return fmt.Errorf("attach to %s again: %w", s.req.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(os.ErrClosed, conn.Close())
	}
	s.conn = conn
	if s.eof && s.isStarted() {
		_ = conn.Send([]byte{FrameCloseStdin}) // an error shows in the next Recv
	}
	return old.Close()
}

// redial tries until the socket answers again. Where systemd holds the socket
// the first attempt succeeds.
func (s *Session) redial(ctx context.Context) (*seqpacket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, redialLimit)
	defer cancel()
	req := s.req
	req.Resume = s.isStarted()
	tick := time.NewTicker(redialPause)
	defer tick.Stop()
	for {
		conn, err := attach(ctx, s.socket, req)
		if err == nil || errors.Is(err, spec.ErrDenied) {
			return conn, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Copy receives output until it ends, and writes it to stdout and stderr; a nil
// writer discards. It returns nil at the end of the output.
func (s *Session) Copy(ctx context.Context, stdout, stderr io.Writer) error {
	for {
		f, err := s.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w := stdout
		if f.Type == FrameStderr {
			w = stderr
		}
		if w == nil || len(f.Data) == 0 {
			continue
		}
		if _, err := w.Write(f.Data); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
}

// Close detaches. The container goes on, except that its stdin ends if it was
// registered with StdinOnce and this session asked for it.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.conn.Close()
	if !s.isStarted() {
		close(s.start)
	}
	return errors.Join(err, s.closeInput())
}

// closeInput closes the descriptor of the input. The caller holds mu.
func (s *Session) closeInput() error {
	if s.input == nil {
		return nil
	}
	err := s.input.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Resize sets the size of the container's terminal, waiting for the start.
func (s *Session) Resize(ctx context.Context, size Size) error {
	select {
	case <-s.start:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	input, tty := s.input, s.tty
	s.mu.Unlock()
	switch {
	case !tty:
		return fmt.Errorf("resize terminal of %s: it has none: %w", s.req.ID, spec.ErrConflict)
	case input == nil: // a session without Stdin
		return Resize(ctx, s.socket, s.req.ID, size)
	}
	return SetSize(input, size)
}

// SetSize sets the size of the terminal whose master or slave is f. A zero
// dimension of size leaves the terminal as it is.
func SetSize(f *os.File, size Size) error {
	if size.Width == 0 || size.Height == 0 {
		return nil
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioErr error
	err = rc.Control(func(fd uintptr) {
		ws := unix.Winsize{Row: size.Height, Col: size.Width}
		ioErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &ws)
	})
	if err := seqpacket.FirstError(err, ioErr); err != nil {
		return fmt.Errorf("set terminal size: %w", err)
	}
	return nil
}
