// Package proxy carries connections from sockets on the host to a container, where
// the firewall cannot: because the container sleeps and the connection is to wake
// it, or because the firewall has no way to lead the address to it. It accepts from
// sockets that are not its own but the service manager's, and is done as soon as
// there is nothing to carry: the service manager watches them then.
//
// The container sees connections as coming from the host.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Config says what is carried, and where to. Fields without a remark are required.
type Config struct {
	Sockets []Socket

	// Run returns the run of the container that is under way. If there is none the
	// error wraps spec.ErrNotFound, and if somebody is about to end it
	// spec.ErrConflict.
	Run func() (Run, error)

	// Wake starts a run and returns once it is under way, or at once if there is one,
	// be it about to end. Nil means that the container is not to
	// be started: then there is nothing to carry to without a run.
	Wake func(context.Context) error

	// Ready returns once a run may be handed connections, beyond that it listens. It
	// is asked once for each run, and no longer than that lasts. Nil means that every
	// run may.
	Ready func(context.Context, Run) error

	// Hold is called when a connection begins to wait for a run that is under way,
	// and what it returns when it no longer does. Nil for nobody.
	Hold func(Run) (release func())

	// Lead is told of each port that the container has been seen to listen at. Nil
	// for nobody.
	Lead func(context.Context, netd.Port) error

	// Warn is told, in a sentence, what went wrong with single connections.
	Warn func(sentence string)

	Patience time.Duration // how long a connection waits for the container to be ready, and to listen; 0 means DefaultPatience
	Linger   time.Duration // how long to wait for the next connection before Serve returns; 0 means DefaultLinger
	FlowIdle time.Duration // after how long without a datagram a UDP flow is over; 0 means DefaultFlowIdle
}

// The defaults of Config. A flow of UDP lasts as long as the kernel remembers one
// without an answer.
const (
	DefaultPatience = 60 * time.Second
	DefaultLinger   = time.Second
	DefaultFlowIdle = 30 * time.Second
)

// Socket is one socket on the host and the published port that it is of.
type Socket struct {
	File *os.File // stays the caller's
	Port netd.Port
}

// Run is one run of the container.
type Run struct {
	ID           string     // tells runs apart
	PID          int        // of the payload
	Addr4, Addr6 netip.Addr // where it can be reached; zero means not in this family
}

// addr returns the container's address for what came to a host's address of the
// same family, if it has one.
func (r Run) addr(six bool) netip.Addr {
	if six && r.Addr6.IsValid() || !r.Addr4.IsValid() {
		return r.Addr6
	}
	return r.Addr4
}

// server carries the connections of one Config.
type server struct {
	Config
	busy  busy
	ends  ends
	waker waker
	ready ready
}

// Serve carries connections until there are none, for as long as Config.Linger, or
// until ctx is done. Connections that wait in the sockets when it returns are not
// lost: whoever watches the sockets then sees them.
func Serve(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{Config: cfg, busy: busy{changed: make(chan struct{}, 1)}}
	s.Patience, s.Linger, s.FlowIdle = cmp.Or(s.Patience, DefaultPatience), cmp.Or(s.Linger, DefaultLinger), cmp.Or(s.FlowIdle, DefaultFlowIdle)
	var doors []door
	for _, sock := range cfg.Sockets {
		d, err := s.open(sock)
		if err != nil {
			return err
		}
		defer d.close()
		doors = append(doors, d)
	}
	for {
		var accepting sync.WaitGroup
		for _, d := range doors {
			accepting.Go(func() { d.accept(ctx) })
		}
		err := s.busy.wait(ctx, s.Linger)
		// What comes from now on stays in the sockets; what came just before is carried.
		for _, d := range doors {
			d.pause()
		}
		accepting.Wait()
		if err != nil || s.busy.count() == 0 {
			return err
		}
		for _, d := range doors {
			d.resume()
		}
	}
}

// door is a socket that is accepted from.
type door interface {
	accept(context.Context) // until it is paused
	pause()
	resume()
	close()
}

func (s *server) open(sock Socket) (door, error) {
	if sock.Port.Proto == netd.UDP {
		return s.openPackets(sock)
	}
	l, err := net.FileListener(sock.File)
	if err != nil {
		return nil, fmt.Errorf("socket of port %s: %w", sock.Port, err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("socket of port %s is of network %s: %w", sock.Port, l.Addr().Network(), spec.ErrInvalid), l.Close())
	}
	return stream{s, tcp, sock.Port}, nil
}

// past is a deadline that has passed, which ends calls under way.
var past = time.Unix(1, 0)

// stream is a listening TCP socket.
type stream struct {
	s    *server
	l    *net.TCPListener
	port netd.Port
}

func (d stream) pause()  { _ = d.l.SetDeadline(past) }
func (d stream) resume() { _ = d.l.SetDeadline(time.Time{}) }
func (d stream) close()  { _ = d.l.Close() }

func (d stream) accept(ctx context.Context) {
	for {
		client, err := d.l.AcceptTCP()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of one connection, or for want of descriptors: the next may work
			d.s.Warn(fmt.Sprintf("accept at port %s: %v", d.port, err))
			if pause.For(ctx, acceptPause) != nil {
				return
			}
			continue
		}
		d.s.busy.add()
		go func() {
			defer d.s.busy.done()
			d.s.carry(ctx, client, d.port)
		}()
	}
}

// acceptPause keeps a lack of descriptors from becoming a lack of time as well.
const acceptPause = 100 * time.Millisecond

// carry carries one connection to its end.
func (s *server) carry(ctx context.Context, client *net.TCPConn, p netd.Port) {
	defer client.Close()
	conn, run, err := s.dial(ctx, p, isSix(client.LocalAddr()))
	if err != nil {
		s.Warn(fmt.Sprintf("a connection to port %s is closed: %v", p, err))
		_ = client.SetLinger(0) // as if nobody listened
		return
	}
	defer conn.Close()
	server, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.ends.watch(run):
			_ = server.SetReadDeadline(time.Now().Add(lastWords))
		case <-done:
		}
	}()
	var both sync.WaitGroup
	both.Go(func() { copyHalf(server, client) })
	both.Go(func() { copyHalf(client, server) })
	both.Wait()
}

// lastWords is how long what a container has said may take to arrive after its
// run has ended. Its end of the connection may have gone without a word.
const lastWords = 5 * time.Second

// copyHalf copies one direction to its end. The kernel moves the bytes (splice(2)).
func copyHalf(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	_ = to.CloseWrite()
	_ = from.CloseRead()
}

// isSix reports whether a connection came to an IPv6 address.
func isSix(addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().Is6()
}
