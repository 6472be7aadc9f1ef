package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/stdio"
)

// broker is a stdio broker that keeps all output.
type broker struct {
	path string
	mu   sync.Mutex
	runs map[string]*brokerRun
}

type brokerRun struct {
	reg            stdio.Registration
	stdout, stderr syncBuffer
	master, stdin  *os.File
	done           sync.WaitGroup
}

// syncBuffer is a buffer that can be read while it is written to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// soFar returns what has been written to stdout until now.
func (run *brokerRun) soFar() string {
	if run == nil {
		return ""
	}
	return run.stdout.String()
}

func newBroker(t testing.TB, path string) *broker {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	b := &broker{path: path, runs: make(map[string]*brokerRun)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			b.serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		<-served
		_ = unix.Close(fd)
	})
	return b
}

func (b *broker) serve(fd int) {
	c, err := seqpacket.New(fd)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, stdio.MaxRequest)
	n, fds, err := c.Recv(buf)
	if err != nil {
		return
	}
	verb, obj, err := stdio.DecodeRequest(buf[:n])
	if err == nil && verb == stdio.VerbRegister {
		b.register(obj, fds)
	}
	if err == nil && verb == stdio.VerbDrain {
		var req stdio.DrainRequest
		_ = json.Unmarshal(obj, &req)
		if run := b.run(req.ID); run != nil {
			run.done.Wait()
		}
	}
	_ = c.Send([]byte{stdio.FrameOK})
}

func (b *broker) register(obj []byte, fds []int) {
	run := new(brokerRun)
	_ = json.Unmarshal(obj, &run.reg)
	keep := func(buf *syncBuffer, f *os.File) {
		run.done.Go(func() {
			_, _ = io.Copy(buf, f) // a terminal ends with EIO
			if !run.reg.TTY {
				_ = f.Close()
			}
		})
	}
	if run.reg.TTY {
		run.master = os.NewFile(uintptr(fds[0]), "master")
		keep(&run.stdout, run.master)
	} else {
		keep(&run.stdout, os.NewFile(uintptr(fds[0]), "stdout"))
		keep(&run.stderr, os.NewFile(uintptr(fds[1]), "stderr"))
		if run.reg.Stdin {
			run.stdin = os.NewFile(uintptr(fds[2]), "stdin")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[run.reg.ID] = run
}

func (b *broker) run(id string) *brokerRun {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs[id]
}

// output returns the whole output of a run that has ended.
func (b *broker) output(t testing.TB, id string) (stdout, stderr string) {
	t.Helper()
	run := b.run(id)
	if run == nil {
		t.Fatalf("container %s was never registered", id)
	}
	run.done.Wait()
	return run.stdout.String(), run.stderr.String()
}

// notifySocket is the service manager's end of sd_notify(3).
type notifySocket struct {
	path string
	mu   sync.Mutex
	got  []string
	hold chan struct{} // if not nil, barriers wait for it
	seen chan string   // every message, if somebody reads
}

func newNotifySocket(t testing.TB, path string) *notifySocket {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	n := &notifySocket{path: path, seen: make(chan string, 64)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		n.serve(conn)
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-served
	})
	return n
}

func (n *notifySocket) serve(conn *net.UnixConn) {
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		k, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.got = append(n.got, string(buf[:k]))
		hold := n.hold
		n.mu.Unlock()
		select {
		case n.seen <- string(buf[:k]):
		default:
		}
		if cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(cmsgs) > 0 {
			if hold != nil {
				<-hold
			}
			fds, _ := unix.ParseUnixRights(&cmsgs[0])
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
}

// holdBarriers makes barriers wait until release is called, or the test ends.
func (n *notifySocket) holdBarriers(t testing.TB) (release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hold := make(chan struct{})
	n.hold = hold
	release = sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	return release
}

func (n *notifySocket) reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = nil
}

func (n *notifySocket) messages() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.got...)
}

func (n *notifySocket) mainPID() (pid int) {
	for _, m := range n.messages() {
		_, _ = fmt.Sscanf(m, "MAINPID=%d", &pid)
	}
	return pid
}
