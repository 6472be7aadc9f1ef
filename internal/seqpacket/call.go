package seqpacket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// attempts is how often a request is made when the daemon is killed while it
// works on it.
const attempts = 5

// answerBytes bounds one message of an answer.
const answerBytes = 4 << 10

// Call sends msg with fds to the daemon at the socket at path and gives each
// message of the answer to take, none of which is empty, until that says that it
// was the last or fails. If the daemon dies meanwhile, the request is made again,
// so it must be one that may be repeated, and take must expect to see messages
// again. There is no pause in between: connecting waits in the socket's queue
// until systemd has started the daemon again.
func Call(ctx context.Context, path string, msg []byte, take func(msg []byte) (last bool, err error), fds ...int) (err error) {
	for range attempts {
		if err = callOnce(ctx, path, msg, take, fds); !Lost(err) {
			break
		}
	}
	return err
}

func callOnce(ctx context.Context, path string, msg []byte, take func([]byte) (bool, error), fds []int) (err error) {
	c, err := Dial(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(CauseOf(ctx, err), c.Close()) }()
	defer c.Bind(ctx)()
	if err := c.Send(msg, fds...); err != nil {
		return err
	}
	return Answer(c, take)
}

// Answer reads an answer as Call does.
func Answer(c *Conn, take func(msg []byte) (last bool, err error)) error {
	buf := make([]byte, answerBytes)
	for {
		n, fds, err := c.Recv(buf)
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		CloseAll(fds)
		if last, err := take(buf[:n]); last || err != nil {
			return err
		}
	}
}

// Lost tells whether err means that the daemon died with the connection open.
func Lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// CauseOf replaces the deadline error that Bind provokes by ctx's own.
func CauseOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
