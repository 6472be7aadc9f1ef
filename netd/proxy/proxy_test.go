package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// box stands for a container on the loopback interface: its "address" is 127.0.0.1,
// and its process this one.
type box struct {
	t    *testing.T
	port netd.Port

	mu     sync.Mutex
	runs   int
	up     bool
	closer func()

	wakes, leads atomic.Int64
	wakeErr      error
	slow         time.Duration // from the wake to the listening
	refuse       int           // so many wakes lead to a run that ends at once
}

// newBox returns a sleeping container whose program, serve, is started by a wake.
func newBox(t *testing.T, proto spec.Proto) *box {
	t.Helper()
	b := &box{t: t, port: netd.Port{Proto: proto, HostPort: 1, ContainerPort: freePort(t, string(proto))}}
	t.Cleanup(b.end)
	return b
}

func freePort(t *testing.T, network string) uint16 {
	t.Helper()
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr = l.Addr()
	}
	return netip.MustParseAddrPort(addr.String()).Port()
}

func (b *box) run() (Run, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.up {
		return Run{}, fmt.Errorf("run: %w", spec.ErrNotFound)
	}
	return Run{ID: fmt.Sprint(b.runs), PID: os.Getpid(), Addr4: netip.MustParseAddr("127.0.0.1")}, nil
}

func (b *box) wake(context.Context) error {
	b.wakes.Add(1)
	if b.wakeErr != nil {
		return b.wakeErr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.up {
		return nil
	}
	b.runs++
	if b.runs <= b.refuse {
		return nil // it has ended already
	}
	b.up = true
	time.AfterFunc(b.slow, b.listen)
	return nil
}

// listen serves lines: each is answered with the same one. Its end of a connection
// is closed when the client has closed its own.
func (b *box) listen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.port.ContainerPort).String()
	if b.port.Proto == netd.UDP {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			b.t.Error(err)
			return
		}
		b.closer = func() { _ = c.Close() }
		go func() {
			buf := make([]byte, 2000)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(buf[:n], from)
			}
		}()
		return
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		b.t.Error(err)
		return
	}
	b.closer = func() { _ = l.Close() }
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

func (b *box) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up = false
	if b.closer != nil {
		b.closer()
		b.closer = nil
	}
}

// socket opens the socket on the host and returns its address.
func (b *box) socket(addr string) (Socket, string) {
	b.t.Helper()
	var f *os.File
	var at net.Addr
	if b.port.Proto == netd.UDP {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			b.t.Fatal(err)
		}
		defer c.Close()
		at = c.LocalAddr()
		if f, err = c.(*net.UDPConn).File(); err != nil {
			b.t.Fatal(err)
		}
	} else {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			b.t.Fatal(err)
		}
		defer l.Close()
		at = l.Addr()
		if f, err = l.(*net.TCPListener).File(); err != nil {
			b.t.Fatal(err)
		}
	}
	b.t.Cleanup(func() { _ = f.Close() })
	return Socket{f, b.port}, at.String()
}

func (b *box) config(sockets ...Socket) Config {
	return Config{
		Sockets: sockets, Run: b.run, Wake: b.wake, Linger: 50 * time.Millisecond, Warn: func(s string) { b.t.Log(s) },
		Lead: func(_ context.Context, p netd.Port) error {
			if p != b.port {
				b.t.Errorf("port %s is led", p)
			}
			b.leads.Add(1)
			return nil
		},
	}
}

// serve has the proxy serve, in the background, and again when it has ended, as the
// service manager does. The returned function ends that, once there is nothing to
// carry, and tells how often the proxy has ended.
func (b *box) serve(cfg Config) (wait func() int64) {
	stop, done := make(chan struct{}), make(chan struct{})
	var count atomic.Int64
	go func() {
		defer close(done)
		for {
			if err := Serve(b.t.Context(), cfg); err != nil {
				b.t.Error(err)
			}
			count.Add(1)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	return func() int64 {
		b.t.Helper()
		close(stop)
		select {
		case <-done:
		case <-time.After(time.Minute):
			b.t.Fatal("the proxy has not ended")
		}
		return count.Load()
	}
}

// echo sends a text over a new connection and returns the answer.
func echo(network, addr, text string) (string, error) {
	c, err := net.Dial(network, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			return "", err
		}
		data, err := io.ReadAll(c)
		return string(data), err
	}
	buf := make([]byte, 2000)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// Many at once wake the container once, wait until it listens, and are all answered.
func TestManyWakeOne(t *testing.T) {
	for _, proto := range []spec.Proto{netd.TCP, netd.UDP} {
		t.Run(string(proto), func(t *testing.T) {
			b := newBox(t, proto)
			b.slow = 30 * time.Millisecond
			sock, addr := b.socket("127.0.0.1:0")
			cfg := b.config(sock)
			cfg.FlowIdle = 500 * time.Millisecond
			wait := b.serve(cfg)
			var clients sync.WaitGroup
			for i := range 50 {
				clients.Go(func() {
					text := strings.Repeat(fmt.Sprint(i, ","), 100)
					if got, err := echo(string(proto), addr, text); got != text || err != nil {
						t.Errorf("client %d: %q, %v", i, got, err)
					}
				})
			}
			clients.Wait()
			wait()
			if b.wakes.Load() != 1 || b.leads.Load() == 0 {
				t.Errorf("woken %d times, led %d times", b.wakes.Load(), b.leads.Load())
			}
		})
	}
}

// The proxy ends when there is nothing to carry, and the service manager starts it
// again: whenever a connection comes, it is carried.
func TestNothingIsLost(t *testing.T) {
	b := newBox(t, netd.TCP)
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Linger = time.Millisecond
	wait := b.serve(cfg)
	for round := range 50 {
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				for i := range 4 {
					if got, err := echo("tcp", addr, "x"); got != "x" || err != nil {
						t.Errorf("round %d, connection %d: %q, %v", round, i, got, err)
					}
				}
			})
		}
		clients.Wait()
		time.Sleep(3 * time.Millisecond) // in which it may end, or be about to
	}
	if n := wait(); n < 3 {
		t.Errorf("the proxy has ended %d times only", n)
	}
}

// A large transfer arrives whole in both directions, whoever closes first.
func TestLargeTransfer(t *testing.T) {
	b := newBox(t, netd.TCP)
	sock, addr := b.socket("127.0.0.1:0")
	wait := b.serve(b.config(sock))
	text := strings.Repeat("0123456789abcdef", 1<<18)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	data, err := io.ReadAll(c)
	if string(data) != text || err != nil {
		t.Errorf("%d bytes came back, %v", len(data), err)
	}
	wait()
}

// A run that ends before it listens is followed by another one; one that is about to
// end gets nothing new.
func TestRunsThatEnd(t *testing.T) {
	b := newBox(t, netd.TCP)
	b.refuse = 2
	sock, addr := b.socket("127.0.0.1:0")
	wait := b.serve(b.config(sock))
	if got, err := echo("tcp", addr, "x"); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	wait()
	if b.wakes.Load() != 3 {
		t.Errorf("woken %d times", b.wakes.Load())
	}
}

// A connection that was made while the run was about to be ended is not used.
func TestClosingRun(t *testing.T) {
	b := newBox(t, netd.TCP)
	_ = b.wake(t.Context())
	b.mu.Lock()
	b.mu.Unlock() //nolint:staticcheck // waits for a listen under way
	var looks atomic.Int64
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Run = func() (Run, error) {
		run, err := b.run()
		if n := looks.Add(1); err == nil && n > 1 && n < 10 {
			return Run{}, fmt.Errorf("closing: %w", spec.ErrConflict)
		}
		return run, err
	}
	wait := b.serve(cfg)
	if got, err := echo("tcp", addr, "x"); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if looks.Load() < 10 {
		t.Errorf("looked %d times", looks.Load())
	}
	wait()
}

// If the container cannot be woken, connections end at once, and it is not tried
// again for each of them.
func TestWakeFails(t *testing.T) {
	b := newBox(t, netd.TCP)
	b.wakeErr = errors.New("no such program")
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Linger = time.Second
	wait := b.serve(cfg)
	for range 5 {
		if got, err := echo("tcp", addr, "x"); err == nil {
			t.Errorf("answer %q", got)
		}
	}
	wait()
	if b.wakes.Load() != 1 {
		t.Errorf("woken %d times", b.wakes.Load())
	}
}

// One that ends whenever it is started is not started for each connection.
func TestShortRuns(t *testing.T) {
	b := newBox(t, netd.TCP)
	b.refuse = 1000
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Linger = 5 * time.Second
	wait := b.serve(cfg)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			if got, err := echo("tcp", addr, "x"); err == nil {
				t.Errorf("answer %q", got)
			}
		})
	}
	clients.Wait()
	if n := b.wakes.Load(); n != maxRuns {
		t.Errorf("woken %d times", n)
	}
	wait()
}

// A proxy that may not wake carries while there is a run, and no longer.
func TestNoWaking(t *testing.T) {
	b := newBox(t, netd.TCP)
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Wake, cfg.Lead, cfg.Linger = nil, nil, time.Second
	wait := b.serve(cfg)
	if got, err := echo("tcp", addr, "x"); err == nil {
		t.Errorf("answer %q without a run", got)
	}
	if err := b.wake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := echo("tcp", addr, "x"); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	b.end()
	if got, err := echo("tcp", addr, "x"); err == nil {
		t.Errorf("answer %q after the run", got)
	}
	wait()
}

// A container that never listens does not keep connections for ever.
func TestPatience(t *testing.T) {
	b := newBox(t, netd.TCP)
	b.slow = time.Hour
	sock, addr := b.socket("127.0.0.1:0")
	cfg := b.config(sock)
	cfg.Patience = 50 * time.Millisecond
	wait := b.serve(cfg)
	if got, err := echo("tcp", addr, "x"); err == nil {
		t.Errorf("answer %q", got)
	}
	wait()
}

// Who sends a datagram is answered from the address that was sent to.
func TestAnswersComeFromWhereTheyAreExpected(t *testing.T) {
	for socketAddr, asked := range map[string][]string{"0.0.0.0:0": {"127.0.0.1", "127.0.0.2", "127.5.5.5"}, "[::]:0": {"[::1]"}, "127.0.0.3:0": {"127.0.0.3"}} {
		b := newBox(t, netd.UDP)
		network := "udp4"
		if strings.HasPrefix(socketAddr, "[") {
			network = "udp6"
		}
		c, err := net.ListenPacket(network, socketAddr)
		if err != nil {
			t.Fatal(err)
		}
		f, err := c.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		port := netip.MustParseAddrPort(c.LocalAddr().String()).Port()
		_ = c.Close()
		cfg := b.config(Socket{f, b.port})
		cfg.FlowIdle = 500 * time.Millisecond
		wait := b.serve(cfg)
		for _, a := range asked {
			// A connected socket takes answers of that address alone.
			if got, err := echo("udp", fmt.Sprintf("%s:%d", a, port), "x"); got != "x" || err != nil {
				t.Errorf("%s at %s: %q, %v", socketAddr, a, got, err)
			}
		}
		wait()
		_ = f.Close()
	}
}

func TestSocketsAt(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 020011AC:0050 010011AC:C001 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:0050 0100007F:C002 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 020011AC:0050 010011AC:C003 06 00000000:00000000 00:00000000 00000000     0        0 4 1
   4: 020011AC:C004 0808080A:0050 01 00000000:00000000 00:00000000 00000000     0        0 5 1
   5: 0000000000000000FFFF0000020011AC:0050 0000000000000000FFFF0000010011AC:C005 08 0 0 0 0 0 6
   6: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:C005 01 0 0 0 0 0 6
   7: 00000000000000000000000001000000:0050 00000000000000000000000001000000:C005 01 0 0 0 0 0 6
   8: short
`
	var open []string
	for _, s := range parseSockets(table, 80) {
		if s.isOpen() {
			open = append(open, s.remote)
		}
	}
	if want := "010011AC 0000000000000000FFFF0000010011AC"; strings.Join(open, " ") != want {
		t.Errorf("open connections with %v, want %s", open, want)
	}
	if n := len(parseSockets(table, 80)); n != 7 {
		t.Errorf("%d sockets at the port", n)
	}
}
