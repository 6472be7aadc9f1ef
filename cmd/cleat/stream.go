package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"syscall"

	"github.com/moby/term"
)

// session is a client's attachment to the streams of a container; package
// journal/stdio says what its methods promise.
type session interface {
	Copy(ctx context.Context, stdout, stderr io.Writer) error
	CopyStdin(ctx context.Context, src io.Reader) error
	CloseStdin() error
	Close() error
}

// streams says what passes between the caller and a container.
type streams struct {
	stdin, stdout, stderr bool
	tty                   bool   // the container has a terminal
	keys                  []byte // that detach from one
}

// any reports whether there is anything to attach to.
func (s streams) any() bool { return s.stdin || s.stdout || s.stderr }

// output reports whether the caller sees output.
func (s streams) output() bool { return s.stdout || s.stderr }

// errDetached says that the user typed the detach keys.
var errDetached = errors.New("detached")

// stream passes bytes until the container's output ends or ctx is done. Without
// output it ends with the input. It returns errDetached if the user left.
func (c *cli) stream(ctx context.Context, s session, st streams) (err error) {
	restore, err := rawTerminal(c, st.tty, st.stdin)
	if err != nil {
		return err
	}
	defer restore()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var fed <-chan error // nil, which never is ready, without input
	if st.stdin {
		ended := make(chan error, 1)
		go func() { ended <- c.feed(ctx, s, st) }()
		fed = ended
	}
	shown := make(chan error, 1)
	go func() { shown <- s.Copy(ctx, chosen(st.stdout, c.out), chosen(st.stderr, c.err)) }()
	for {
		select {
		case err := <-shown:
			return err
		case err := <-fed:
			if err != nil || !st.output() {
				return err
			}
			fed = nil
		}
	}
}

// chosen returns w if the stream is wanted.
func chosen(wanted bool, w io.Writer) io.Writer {
	if !wanted {
		return nil
	}
	return w
}

// feed passes the caller's input to the container, and its end.
func (c *cli) feed(ctx context.Context, s session, st streams) error {
	src := c.in
	if _, isTerminal := terminalFd(c.in); st.tty && isTerminal {
		src = term.NewEscapeProxy(c.in, st.keys)
	}
	err := s.CopyStdin(ctx, src)
	if _, ok := errors.AsType[term.EscapeError](err); ok {
		return errDetached
	}
	return errors.Join(err, s.CloseStdin())
}

// proxy passes the signals that this process gets from now on to a container,
// instead of ending. It is called once there is a container to take them; stop
// ends it, and may be called more than once.
func (c *cli) proxy(ctx context.Context, eng killer, id string) (stop func()) {
	// Both listen for a moment, so that no signal is lost between them.
	end := proxySignals(func(sig syscall.Signal) {
		_ = eng.Kill(ctx, id, strconv.Itoa(int(sig))) // a container that has just ended takes none
	})
	c.releaseSignals()
	return sync.OnceFunc(end)
}
