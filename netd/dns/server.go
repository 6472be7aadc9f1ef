package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cleat-project/cleat/internal/pause"
)

// View is what one container sees.
type View struct {
	Records *Records // names of the containers on its networks

	// Upstreams returns whom to ask in turn for everything else. Without any,
	// such questions go nowhere (internal networks); nil means none.
	Upstreams func() []netip.AddrPort
}

func (v View) upstreams() []netip.AddrPort {
	if v.Upstreams == nil {
		return nil
	}
	return v.Upstreams()
}

// Server answers on the sockets that it is given. Its fields do not change once
// it serves; its methods may be called for many sockets at a time.
type Server struct {
	// Dial opens connections to upstreams; nil means from where the server runs.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout bounds the wait for one upstream; 0 means 2 s.
	Timeout time.Duration
	// Forwards bounds the questions that are being passed on at a time, and the
	// connections, for each socket; 0 means 128. More questions are dropped, and
	// asked again by their clients; more connections wait.
	Forwards int
	// Rate bounds the questions that are taken in a second, for each socket; 0
	// means 10,000. More wait in the socket, and what does not fit there is dropped
	// by the kernel at its sender's cost: a flood slows down nobody else.
	Rate int

	turn atomic.Uint32
}

// maxTCP bounds a message over TCP, whose length is told in sixteen bits.
const maxTCP = 65535

// maxQuery bounds a query over TCP. They are short, and many may be under way.
const maxQuery = 4096

// tcpIdle is how long a connection may be silent (RFC 7766, section 6.2.3).
const tcpIdle = 10 * time.Second

func (s *Server) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return 2 * time.Second
}

// slots returns a channel that holds as many as may be under way at a time.
func (s *Server) slots() chan struct{} {
	if s.Forwards > 0 {
		return make(chan struct{}, s.Forwards)
	}
	return make(chan struct{}, 128)
}

func (s *Server) pace() *pace {
	rate := s.Rate
	if rate == 0 {
		rate = 10_000
	}
	return &pace{limit: max(rate/int(time.Second/paceWindow), 1)}
}

// ServePacket answers the queries that come by conn, as view says at the time of
// each, until conn is closed or ctx is done; then it returns nil. It closes conn.
func (s *Server) ServePacket(ctx context.Context, conn net.PacketConn, view func() View) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	slots, pace := s.slots(), s.pace()
	buf := make([]byte, maxUDP)
	for pace.wait(ctx) {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // of an answer sent before: its client is gone
		}
		if err != nil {
			return fmt.Errorf("receive query: %w", err)
		}
		q, err := parse(buf[:n])
		if err != nil {
			continue // not a query: nobody waits for an answer that could be made
		}
		v := view()
		if reply, err := v.Records.answer(q, q.size, s.turn.Add(1)); err == nil {
			_, _ = conn.WriteTo(reply, from) // the client asks again
			continue
		}
		raw := append([]byte(nil), buf[:n]...)
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				if reply := s.forward(ctx, "udp", raw, q, v.upstreams()); reply != nil {
					_, _ = conn.WriteTo(reply, from)
				}
			})
		default:
		}
	}
	return nil
}

// ServeStream answers the queries of the connections that l accepts, like
// ServePacket. It closes l.
func (s *Server) ServeStream(ctx context.Context, l net.Listener, view func() View) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer l.Close()
	slots, pace := s.slots(), s.pace()
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if scarce(err) && pause.For(ctx, scarcePause) == nil {
			<-slots
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.serveConn(ctx, conn, pace, view)
		})
	}
}

// serveConn answers one client's queries, one after the other, until it goes.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, pace *pace, view func() View) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	for pace.wait(ctx) {
		if conn.SetDeadline(time.Now().Add(tcpIdle)) != nil {
			return
		}
		raw, err := readTCP(conn, maxQuery)
		if err != nil {
			return
		}
		q, err := parse(raw)
		if err != nil {
			return
		}
		v := view()
		reply, err := v.Records.answer(q, maxTCP, s.turn.Add(1))
		if err != nil {
			reply = s.forward(ctx, "tcp", raw, q, v.upstreams())
		}
		if reply == nil || writeTCP(conn, reply) != nil {
			return
		}
	}
}

// forward passes a query on to the upstreams in turn and returns the first
// answer, or one that says that there is none: no such name where there is
// nobody to ask, or else that something is wrong.
func (s *Server) forward(ctx context.Context, network string, raw []byte, q query, upstreams []netip.AddrPort) []byte {
	for _, up := range upstreams {
		reply, err := s.exchange(ctx, network, raw, q, up)
		if err == nil {
			return reply
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	code := dnsmessage.RCodeServerFailure
	if len(upstreams) == 0 {
		code = dnsmessage.RCodeNameError
	}
	reply, err := q.reply(code, nil, minUDP)
	if err != nil {
		return nil
	}
	return reply
}

// exchange asks one upstream. The query leaves from a port and with an id of its
// own, both by chance, so that answers cannot be guessed; what comes back is
// taken only if it fits.
func (s *Server) exchange(ctx context.Context, network string, raw []byte, q query, up netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	dial := s.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, up.String())
	if err != nil {
		return nil, fmt.Errorf("dial name server %s: %w", up, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	out := append([]byte(nil), raw...)
	if _, err := rand.Read(out[:2]); err != nil {
		return nil, fmt.Errorf("choose query id: %w", err)
	}
	send, receive := writeUDP, readUDP
	if network == "tcp" {
		send, receive = writeTCP, readLongTCP
	}
	if err := send(conn, out); err != nil {
		return nil, fmt.Errorf("ask name server %s: %w", up, err)
	}
	for {
		reply, err := receive(conn)
		if err != nil {
			return nil, fmt.Errorf("hear from name server %s: %w", up, err)
		}
		if fits(reply, out, q) {
			binary.BigEndian.PutUint16(reply, q.header.ID)
			return reply, nil
		}
	}
}

// fits reports whether reply answers the query that was sent.
func fits(reply, sent []byte, q query) bool {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || !h.Response || h.ID != binary.BigEndian.Uint16(sent) {
		return false
	}
	got, err := p.Question()
	if err != nil {
		return h.RCode != dnsmessage.RCodeSuccess // a server that does not understand may leave the question out
	}
	return got.Type == q.question.Type && got.Class == q.question.Class && strings.EqualFold(got.Name.String(), q.question.Name.String())
}

func writeUDP(conn net.Conn, msg []byte) error {
	_, err := conn.Write(msg)
	return err
}

// readUDP reads an answer. One that is longer than what clients are told to ask
// for is cut off, which its header then says.
func readUDP(conn net.Conn) ([]byte, error) {
	buf := make([]byte, maxUDP+1)
	n, err := conn.Read(buf)
	if n > maxUDP {
		buf[2] |= 0x02 // TC, see RFC 1035, section 4.1.1
		n = maxUDP
	}
	return buf[:n], err
}

func readLongTCP(conn net.Conn) ([]byte, error) { return readTCP(conn, maxTCP) }

func writeTCP(conn net.Conn, msg []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}

func readTCP(conn net.Conn, limit int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > limit {
		return nil, fmt.Errorf("message of %d bytes, more than %d", size, limit)
	}
	msg := make([]byte, size)
	_, err := io.ReadFull(conn, msg)
	return msg, err
}
