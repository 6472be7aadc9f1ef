package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

const (
	// maxDatagram is the length of the longest datagram, in bytes.
	maxDatagram = 1 << 16

	// maxFlows and maxWaiting bound what strangers can make the proxy hold: flows,
	// and datagrams of one until the container listens. More are dropped.
	maxFlows   = 4096
	maxWaiting = 64
)

// packets is a UDP socket. Who sends to it is answered from the address that was
// sent to.
type packets struct {
	s    *server
	conn *net.UDPConn
	port netd.Port
	any  bool // it is bound to every address of the host

	mu    sync.Mutex
	flows map[pair]*flow
}

// pair are both ends of a flow: the client, and the address of the host that it
// sends to, zero unless the socket is bound to all.
type pair struct {
	client netip.AddrPort
	local  netip.Addr
}

func (s *server) openPackets(sock Socket) (door, error) {
	c, err := net.FilePacketConn(sock.File)
	if err != nil {
		return nil, fmt.Errorf("socket of port %s: %w", sock.Port, err)
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("socket of port %s is of network %s: %w", sock.Port, c.LocalAddr().Network(), spec.ErrInvalid), c.Close())
	}
	local, err := netip.ParseAddrPort(udp.LocalAddr().String())
	d := &packets{s: s, conn: udp, port: sock.Port, any: err == nil && local.Addr().IsUnspecified(), flows: map[pair]*flow{}}
	if err == nil && d.any {
		err = d.askForLocal(local.Addr().Is6())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket of port %s: %w", sock.Port, err), udp.Close())
	}
	return d, nil
}

// askForLocal has the kernel say which address a datagram was sent to.
func (d *packets) askForLocal(six bool) error {
	raw, err := d.conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if six {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, set)
}

func (d *packets) pause()  { _ = d.conn.SetReadDeadline(past) }
func (d *packets) resume() { _ = d.conn.SetReadDeadline(time.Time{}) }
func (d *packets) close()  { _ = d.conn.Close() }

func (d *packets) accept(ctx context.Context) {
	buf, oob := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n, oobn, _, from, err := d.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of an answer that did not arrive
			if pause.For(ctx, firstPause) != nil {
				return
			}
			continue
		}
		ends := pair{client: from}
		if d.any {
			ends.local = localOf(oob[:oobn])
		}
		d.pass(ctx, ends, append([]byte(nil), buf[:n]...))
	}
}

// pass hands a datagram to its flow, which begins with it if there is none.
func (d *packets) pass(ctx context.Context, ends pair, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.flows[ends]
	if f == nil {
		if len(d.flows) >= maxFlows {
			return
		}
		f = &flow{d: d, ends: ends, in: make(chan []byte, maxWaiting), heard: make(chan struct{}, 1)}
		d.flows[ends] = f
		d.s.busy.add()
		go func() {
			defer d.s.busy.done()
			if f.carry(ctx) {
				d.renew(ctx, f)
			} else {
				d.forget(ends)
			}
		}()
	}
	select {
	case f.in <- data:
	default:
	}
}

func (d *packets) forget(ends pair) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.flows, ends)
}

// renew forgets a flow that is over. What it was given meanwhile begins another one.
func (d *packets) renew(ctx context.Context, f *flow) {
	d.forget(f.ends) // from now on nobody gives it anything
	for {
		select {
		case data := <-f.in:
			d.pass(ctx, f.ends, data)
		default:
			return
		}
	}
}

// flow is what one client sends to one address, and the answers.
type flow struct {
	d     *packets
	ends  pair
	in    chan []byte
	heard chan struct{} // an answer has come
}

// carry carries datagrams until there has been none for a while, or the run that
// they are for has ended. It reports whether there was a run.
func (f *flow) carry(ctx context.Context) bool {
	s := f.d.s
	local := f.ends.local
	if !local.IsValid() {
		local = f.ends.client.Addr() // of the same family
	}
	conn, run, err := s.dial(ctx, f.d.port, local.Unmap().Is6())
	if err != nil {
		s.Warn(fmt.Sprintf("datagrams to port %s are dropped: %v", f.d.port, err))
		return false
	}
	defer conn.Close()
	go f.answer(conn)
	idle := time.NewTimer(s.FlowIdle)
	defer idle.Stop()
	for {
		select {
		case data := <-f.in:
			_, _ = conn.Write(data) // it may be lost, as any datagram
		case <-f.heard:
		case <-idle.C:
			return true
		case <-s.ends.watch(run):
			return true
		case <-ctx.Done():
			return true
		}
		idle.Reset(s.FlowIdle)
	}
}

// answer sends back what the container says until conn is closed.
func (f *flow) answer(conn net.Conn) {
	buf, oob := make([]byte, maxDatagram), infoOf(f.ends.local)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the container has refused a datagram
		}
		_, _, _ = f.d.conn.WriteMsgUDPAddrPort(buf[:n], oob, f.ends.client)
		select {
		case f.heard <- struct{}{}:
		default:
		}
	}
}
