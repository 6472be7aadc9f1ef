package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/cleat-project/cleat/spec"
)

type objectPath = dbus.ObjectPath

const (
	destination         = "org.freedesktop.systemd1"
	managerPath         = objectPath("/org/freedesktop/systemd1")
	managerInterface    = "org.freedesktop.systemd1.Manager"
	unitInterface       = "org.freedesktop.systemd1.Unit"
	propertiesInterface = "org.freedesktop.DBus.Properties"
)

// errUnsent says that a call failed before any of it was written.
var errUnsent = errors.New("not sent")

// link is one stream to PID 1 or to the bus daemon. It lives until it breaks;
// Conn replaces it then.
type link struct {
	nc    net.Conn
	ready chan struct{} // closed when authentication has succeeded
	done  chan struct{} // closed when the link is broken; err says why

	write sync.Mutex // held while one message is written

	mu     sync.Mutex
	serial uint32
	calls  map[uint32]chan *dbus.Message // each with room for the one reply
	subs   map[*subscription]struct{}
	err    error
}

// dialPrivate connects to PID 1's own socket. There no Hello, no match rule and
// no Subscribe is needed: PID 1 sends its signals to every peer.
func dialPrivate(ctx context.Context, path string) (*link, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, dialError(path, err)
	}
	l := newLink(nc)
	if err := l.startAuth(); err != nil {
		l.close(err)
		return nil, fmt.Errorf("authenticate on %s: %w: %w", path, errUnsent, err)
	}
	go l.read()
	return l, nil
}

// dialBus connects through the bus daemon, which has to be told which signals
// we want.
func dialBus(ctx context.Context, path string) (l *link, err error) {
	l, err = dialPrivate(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close(err)
		}
	}()
	if err := l.greet(ctx); err != nil {
		return nil, err
	}
	rule := "type='signal',sender='" + destination + "'"
	if _, err := l.callTo(ctx, busDaemon, busDaemonPath, busDaemon, "AddMatch", rule); err != nil {
		return nil, fmt.Errorf("match systemd's signals: %w", err)
	}
	if _, err := l.call(ctx, managerPath, managerInterface, "Subscribe"); err != nil {
		return nil, fmt.Errorf("subscribe to systemd's signals: %w", err)
	}
	return l, nil
}

// The bus daemon on its own bus.
const (
	busDaemon     = "org.freedesktop.DBus"
	busDaemonPath = objectPath("/org/freedesktop/DBus")
)

// greet is the first call of every client of the bus daemon.
func (l *link) greet(ctx context.Context) error {
	if _, err := l.callTo(ctx, busDaemon, busDaemonPath, busDaemon, "Hello"); err != nil {
		return fmt.Errorf("greet the system bus: %w", err)
	}
	return nil
}

func newLink(nc net.Conn) *link {
	return &link{
		nc:    nc,
		ready: make(chan struct{}),
		done:  make(chan struct{}),
		calls: map[uint32]chan *dbus.Message{},
		subs:  map[*subscription]struct{}{},
	}
}

// startAuth writes the client's whole side of the authentication at once, as
// sd-bus does; the D-Bus specification allows that since every answer but OK
// ends the connection.
func (l *link) startAuth() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	_, err := io.WriteString(l.nc, "\x00AUTH EXTERNAL "+uid+"\r\nBEGIN\r\n")
	return err
}

// read takes everything from the stream until it breaks.
func (l *link) read() {
	in := bufio.NewReaderSize(l.nc, 16<<10)
	line, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "OK ") {
		err = fmt.Errorf("authenticate: systemd answers %q: %w", strings.TrimSpace(line), spec.ErrDenied)
	}
	if err != nil {
		l.close(err)
		return
	}
	close(l.ready)
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			l.close(err)
			return
		}
		l.dispatch(m)
	}
}

func (l *link) dispatch(m *dbus.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m.Type {
	case dbus.TypeMethodReply, dbus.TypeError:
		serial, _ := m.Headers[dbus.FieldReplySerial].Value().(uint32)
		if reply := l.calls[serial]; reply != nil {
			delete(l.calls, serial)
			reply <- m // never blocks: one reply, room for one
		}
	case dbus.TypeSignal:
		for s := range l.subs {
			s.offer(m)
		}
	}
}

// close breaks the link: everything that waits on it ends with err.
func (l *link) close(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	close(l.done)
	_ = l.nc.Close() // nothing that was written is worth a second try
}

func (l *link) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil
}

// broken returns the error of a call or wait that the broken link ended.
func (l *link) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, errClosed) || errors.Is(l.err, spec.ErrDenied) {
		return l.err
	}
	return fmt.Errorf("%w: %w", errLost, l.err)
}

func (l *link) call(ctx context.Context, path objectPath, iface, method string, args ...any) ([]any, error) {
	return l.callTo(ctx, destination, path, iface, method, args...)
}

// callTo sends one method call and waits for its reply.
func (l *link) callTo(ctx context.Context, dest string, path objectPath, iface, method string, args ...any) ([]any, error) {
	select {
	case <-l.ready:
	case <-l.done:
		return nil, fmt.Errorf("%w: %w", errUnsent, l.broken())
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to systemd: %w", context.Cause(ctx))
	}
	reply, serial, err := l.send(dest, path, iface, method, args)
	if err != nil {
		return nil, err
	}
	select {
	case m := <-reply:
		return result(m)
	case <-l.done:
		return nil, l.broken()
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.calls, serial)
		l.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

// send writes one method call; its reply comes on the channel.
func (l *link) send(dest string, path objectPath, iface, method string, args []any) (chan *dbus.Message, uint32, error) {
	data, err := encodeCall(dest, path, iface, method, args)
	if err != nil {
		return nil, 0, fmt.Errorf("encode %s: %w", method, err)
	}
	reply := make(chan *dbus.Message, 1)
	l.mu.Lock()
	l.serial++
	serial := l.serial
	l.calls[serial] = reply
	l.mu.Unlock()

	binary.NativeEndian.PutUint32(data[8:], serial) // godbus keeps the field to itself
	l.write.Lock()
	n, err := l.nc.Write(data)
	l.write.Unlock()
	if err != nil {
		l.close(err)
		if n == 0 {
			return nil, 0, fmt.Errorf("%w: %w", errUnsent, l.broken())
		}
		return nil, 0, l.broken()
	}
	return reply, serial, nil
}

// encodeCall returns a method call in wire form, its serial still zero.
func encodeCall(dest string, path objectPath, iface, method string, args []any) ([]byte, error) {
	m := dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(method),
			dbus.FieldDestination: dbus.MakeVariant(dest),
		},
		Body: args,
	}
	if len(args) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		order = binary.BigEndian
	}
	var buf bytes.Buffer
	if err := m.EncodeTo(&buf, order); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// subscription collects the signals that a waiter wants. It never blocks the
// reader, whatever the waiter does: what it keeps is bounded by its filter.
type subscription struct {
	link *link
	want func(*dbus.Message) bool // called with the link locked

	mu    sync.Mutex
	queue []*dbus.Message
	wake  chan struct{} // has room for one: "the queue is not empty"
}

// subscribe begins to collect signals. It is called before whatever causes
// them, so that none is missed.
func (l *link) subscribe(want func(*dbus.Message) bool) *subscription {
	s := &subscription{link: l, want: want, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[s] = struct{}{}
	return s
}

func (s *subscription) cancel() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	delete(s.link.subs, s)
}

func (s *subscription) offer(m *dbus.Message) {
	if !s.want(m) {
		return
	}
	s.mu.Lock()
	s.queue = append(s.queue, m)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next returns the signals that came since the last call, waiting for one.
func (s *subscription) next(ctx context.Context) ([]*dbus.Message, error) {
	for {
		if got := s.take(); len(got) > 0 {
			return got, nil
		}
		select {
		case <-s.wake:
		case <-s.link.done:
			if got := s.take(); len(got) > 0 {
				return got, nil
			}
			return nil, s.link.broken()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *subscription) take() []*dbus.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.queue
	s.queue = nil
	return got
}

// isSignal reports whether m is the signal iface.member.
func isSignal(m *dbus.Message, iface, member string) bool {
	i, _ := m.Headers[dbus.FieldInterface].Value().(string)
	n, _ := m.Headers[dbus.FieldMember].Value().(string)
	return i == iface && n == member
}

// signalPath returns the object that sent m.
func signalPath(m *dbus.Message) objectPath {
	p, _ := m.Headers[dbus.FieldPath].Value().(objectPath)
	return p
}
