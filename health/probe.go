package health

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox"
)

// outputLimit is how much of a check's output is kept, in bytes.
const outputLimit = 4096

// probe runs a command in a container until it ends or ctx is done, and returns
// its exit code and the beginning of its output. Processes that the command leaves
// behind are left alone.
func probe(ctx context.Context, req sandbox.ExecRequest) (code int, output string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		_ = w.Close()
		return 0, "", err
	}
	req.Stdio = [3]*os.File{null, w, w}
	p, err := start(ctx, req, func() { _ = errors.Join(null.Close(), w.Close()) })
	if err != nil {
		return 0, "", err
	}
	defer p.Close()
	out := &clipped{limit: outputLimit}
	copied := make(chan struct{})
	go func() { defer close(copied); out.readAll(r) }()
	code, err = p.Wait(ctx)
	if err != nil {
		kill(p)
	}
	// Whoever else holds the pipe is not waited for: what the command itself has
	// written is in it.
	_ = r.SetReadDeadline(time.Unix(1, 0))
	<-copied
	out.drain(r)
	return code, out.String(), err
}

// start starts a command. Until it runs, which takes a while if the container is
// frozen meanwhile, the wait ends with ctx: then it is killed once it does. The
// caller's copies of the command's files are released when it has its own.
func start(ctx context.Context, req sandbox.ExecRequest, release func()) (*sandbox.Process, error) {
	type result struct {
		p   *sandbox.Process
		err error
	}
	done := make(chan result, 1)
	go func() {
		p, err := sandbox.Exec(ctx, req)
		release()
		done <- result{p, err}
	}()
	select {
	case r := <-done:
		return r.p, r.err
	case <-ctx.Done():
	}
	go func() {
		if r := <-done; r.err == nil {
			kill(r.p)
			r.p.Close()
		}
	}()
	return nil, context.Cause(ctx)
}

// kill ends a command and what it has started: they are a process group, so that
// the programs that a shell waits for do not pile up.
func kill(p *sandbox.Process) {
	if p.Signal(0) == nil { // else the number may be another's
		_ = unix.Kill(-p.PID, unix.SIGKILL)
	}
	_ = p.Signal(unix.SIGKILL) // it may have ended
}

// clipped keeps the beginning of a stream.
type clipped struct {
	limit int

	mu   sync.Mutex
	data []byte
	more bool
}

// readAll reads r to its end, or its deadline.
func (c *clipped) readAll(r *os.File) {
	var buf [1024]byte
	for {
		n, err := r.Read(buf[:])
		c.add(buf[:n])
		if err != nil {
			return
		}
	}
}

// drain takes what is in the pipe r at the moment.
func (c *clipped) drain(r *os.File) {
	_ = r.SetReadDeadline(time.Time{})
	rc, err := r.SyscallConn()
	if err != nil {
		return
	}
	var buf [1024]byte
	_ = rc.Read(func(fd uintptr) bool {
		for c.room() {
			n, err := unix.Read(int(fd), buf[:])
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				break
			}
			c.add(buf[:n])
		}
		return true
	})
}

func (c *clipped) room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.more
}

func (c *clipped) add(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := min(c.limit-len(c.data), len(data))
	c.data = append(c.data, data[:keep]...)
	c.more = c.more || keep < len(data)
}

// String returns what was kept; as in Docker, dots say that there was more.
func (c *clipped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more {
		return string(c.data) + "..."
	}
	return string(c.data)
}
