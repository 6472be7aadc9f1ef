package api

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"
)

// flushing sends what is written at once.
type flushing struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// beginStream answers with the head of a stream, so that the client goes on, and
// returns what takes the rest.
func beginStream(w http.ResponseWriter, mediaType string) *flushing {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(http.StatusOK)
	f := &flushing{w, http.NewResponseController(w)}
	_ = f.c.Flush() // the next write tells
	return f
}

// Write implements io.Writer.
func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

// writeLine writes v as a line of JSON.
func writeLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\r', '\n'))
	return err
}

// frames writes chunks of one output stream in Docker's framing: a head of eight
// bytes with the number of the stream and the length.
type frames struct {
	mu     *sync.Mutex // shared by the streams of one connection
	w      io.Writer
	stream stdcopy.StdType
	buf    []byte
}

// newFrames returns the writers for stdout and stderr.
func newFrames(w io.Writer) (stdout, stderr *frames) {
	mu := &sync.Mutex{}
	return &frames{mu: mu, w: w, stream: stdcopy.Stdout}, &frames{mu: mu, w: w, stream: stdcopy.Stderr}
}

// Write implements io.Writer.
func (f *frames) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf = append(f.buf[:0], byte(f.stream), 0, 0, 0)
	f.buf = binary.BigEndian.AppendUint32(f.buf, uint32(len(p)))
	f.buf = append(f.buf, p...)
	if _, err := f.w.Write(f.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// mediaTypeOf is the type of a stream of output.
func mediaTypeOf(tty bool, v version) string {
	if tty || v < 42 {
		return types.MediaTypeRawStream
	}
	return types.MediaTypeMultiplexedStream
}

// conn is a connection taken over from HTTP: bytes in both directions.
type conn struct {
	net.Conn
	in *bufio.Reader // has what the client sent along with its request
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) { return c.in.Read(p) }

// errHijacked says that the connection can take no answer any more.
var errHijacked = errors.New("answer on the connection that was taken over")

// hijack takes the connection over and answers the request, as Docker does. The
// caller closes the connection.
func hijack(w http.ResponseWriter, r *request, mediaType string) (*conn, error) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + mediaType + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	return takeOver(w, head)
}

// takeOver takes the connection over and sends the head of an answer.
func takeOver(w http.ResponseWriter, head string) (*conn, error) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		return nil, httpError{http.StatusBadRequest, "this connection cannot be upgraded: use HTTP/1.1"}
	}
	if err != nil {
		return nil, fmt.Errorf("take the connection over: %w", err)
	}
	if err := writeHead(nc, head); err != nil {
		_ = nc.Close() // it is broken already
		return nil, fmt.Errorf("%w: %w", errHijacked, err)
	}
	return &conn{nc, rw.Reader}, nil
}

// watch returns a context that ends when the client is gone for good, which reads
// do not tell: after the end of its input a client still takes output. It does
// not read, and costs no thread: the runtime's poller wakes it.
func (c *conn) watch(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	f, err := c.duplicate()
	if err != nil {
		return ctx, cancel // it is noticed at the next write
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return ctx, cancel
	}
	context.AfterFunc(ctx, func() { _ = f.Close() })
	go func() {
		_ = raw.Read(hungUp) // an error says that the watch is over
		cancel()
	}()
	return ctx, cancel
}

// duplicate returns another descriptor of the connection's socket: one that can be
// waited for while others read and write.
func (c *conn) duplicate() (*os.File, error) {
	nc := c.Conn
	for {
		inner, ok := nc.(interface{ NetConn() net.Conn }) // a counted one, TLS, a websocket
		if !ok {
			break
		}
		nc = inner.NetConn()
	}
	sys, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return nil, err
	}
	dup, dupErr := -1, error(nil)
	if err := raw.Control(func(fd uintptr) { dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, fmt.Errorf("duplicate socket: %w", dupErr)
	}
	return os.NewFile(uintptr(dup), "client"), nil
}

// hungUp reports whether both directions of a socket are closed by its peer.
func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}
