package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/spec"
)

// DefaultIdle is how long a broker without containers and clients stays.
const DefaultIdle = 30 * time.Second

// flushTime is how long a broker that was told to stop waits for its clients to
// take what is queued for them.
const flushTime = 2 * time.Second

// Config says what a broker works with.
type Config struct {
	Listener int      // descriptor of the listening SOCK_SEQPACKET socket; the broker owns it
	Stored   []Stored // what the store held; the broker owns the descriptors
	Store    Store    // nil keeps nothing: a dead broker then ends every output

	JournalSocket string        // of journald; "" means JournalSocket
	Idle          time.Duration // without work after which Serve returns; 0 means DefaultIdle, negative never
	PeerUID       uint32        // the only user id that is served

	// Warn takes a message about something that is wrong outside of the broker.
	// No message holds output of a container.
	Warn func(format string, args ...any)
}

// Broker is the server. Its methods are safe for concurrent use.
type Broker struct {
	cfg     Config
	journal *journalSocket
	listen  *seqpacket.Listener
	wg      sync.WaitGroup // streams and connections

	register sync.Mutex // held during a registration

	mu      sync.Mutex
	current map[string]*container   // by id: the latest run
	all     map[*container]struct{} // also earlier runs that have not ended
	waiting map[string][]*client    // by id: attached before the start
	names   map[uint64]struct{}     // in use in the store
	conns   map[*seqpacket.Conn]struct{}
	idle    *time.Timer
}

// New makes a broker. Containers in cfg.Stored are taken over, but nothing is
// read from them before Serve. What cannot be made sense of is reported to
// cfg.Warn and removed from the store.
func New(cfg Config) (*Broker, error) {
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.JournalSocket == "" {
		cfg.JournalSocket = JournalSocket
	}
	listen, err := seqpacket.NewListener(cfg.Listener)
	if err != nil {
		return nil, fmt.Errorf("use listening socket: %w", err)
	}
	b := &Broker{
		cfg: cfg, listen: listen,
		journal: &journalSocket{path: cfg.JournalSocket, warn: cfg.Warn},
		current: map[string]*container{}, all: map[*container]struct{}{},
		waiting: map[string][]*client{}, names: map[uint64]struct{}{}, conns: map[*seqpacket.Conn]struct{}{},
	}
	b.takeOver(cfg.Stored)
	return b, nil
}

func (b *Broker) warn(format string, args ...any) { b.cfg.Warn(format, args...) }

// Serve works until ctx is done, which it returns the cause of, or until there
// has been nothing to do for Config.Idle: then it returns nil. In both cases the
// containers are left to the next broker, by way of the store.
func (b *Broker) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer b.wg.Wait()
	defer cancel(context.Canceled)
	b.mu.Lock()
	for c := range b.all {
		c.start(ctx)
	}
	b.mu.Unlock()
	b.armIdle()
	stop := context.AfterFunc(ctx, func() { _ = b.listen.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := b.acceptAll(ctx)
	cancel(err)
	b.shutDown()
	return err
}

func (b *Broker) acceptAll(ctx context.Context) error {
	for {
		fd, err := b.listen.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = unix.Close(fd)
			}
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The idle time is over. Connections are counted by this goroutine
			// alone, and one that it has not accepted makes systemd start a broker.
			if b.isIdle() {
				return nil
			}
			if err := b.listen.SetDeadline(time.Time{}); err != nil {
				return err
			}
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM):
			b.warn("accept connection: %v, retrying", err)
			if err := pause.For(ctx, retryPause); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("accept connection: %w", err)
		default:
			b.welcome(ctx, fd)
		}
	}
}

// welcome starts the goroutine of a new connection.
func (b *Broker) welcome(ctx context.Context, fd int) {
	conn, err := seqpacket.New(fd)
	if err != nil {
		b.warn("use connection: %v, ignoring", err)
		return
	}
	b.mu.Lock()
	b.conns[conn] = struct{}{}
	b.mu.Unlock()
	b.wg.Go(func() {
		b.handle(ctx, conn)
		_ = conn.Close()
		b.mu.Lock()
		delete(b.conns, conn)
		b.mu.Unlock()
		b.armIdle()
	})
}

// armIdle starts the idle time anew if there is nothing to do.
func (b *Broker) armIdle() {
	if b.cfg.Idle < 0 || !b.isIdle() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.idle == nil {
		b.idle = time.AfterFunc(b.cfg.Idle, func() { _ = b.listen.SetDeadline(time.Unix(1, 0)) })
		return
	}
	b.idle.Reset(b.cfg.Idle)
}

func (b *Broker) isIdle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns) == 0 && len(b.all) == 0
}

// shutDown lets go of connections and of journald, so that all goroutines end.
// Streams have stopped reading; their clients get what was read.
func (b *Broker) shutDown() {
	b.mu.Lock()
	if b.idle != nil {
		b.idle.Stop()
	}
	var clients []*client
	for c := range b.all {
		c.mu.Lock()
		clients = append(clients, c.clients...)
		c.mu.Unlock()
	}
	b.mu.Unlock()
	_ = b.journal.close() // ends sends; the next broker repeats them
	deadline := time.Now().Add(flushTime)
	for _, cl := range clients {
		cl.flush(deadline)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		_ = conn.SetDeadline(time.Unix(1, 0))
	}
	_ = b.listen.Close()
}

// forget removes a container that has ended.
func (b *Broker) forget(c *container) {
	b.mu.Lock()
	_, known := b.all[c]
	delete(b.all, c)
	if b.current[c.reg.ID] == c {
		delete(b.current, c.reg.ID)
	}
	b.mu.Unlock()
	if !known {
		return
	}
	b.forgetName(storeName(c.name))
	b.forgetName(storeName(c.name) + stdinSuffix)
	if err := c.close(); err != nil {
		b.warn("close stdio of %s: %v, ignoring", c.reg.Name, err)
	}
	b.mu.Lock()
	delete(b.names, c.name)
	b.mu.Unlock()
	b.armIdle()
}

func (b *Broker) forgetName(name string) {
	if b.cfg.Store == nil {
		return
	}
	if err := b.cfg.Store.Forget(name); err != nil {
		b.warn("remove %q from store: %v, ignoring", name, err)
	}
}

// newName reserves a name in the store.
func (b *Broker) newName() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := uint64(0); ; n++ {
		if _, used := b.names[n]; !used {
			b.names[n] = struct{}{}
			return n
		}
	}
}

// find returns the latest run of a container, or an error that matches
// spec.ErrNotFound.
func (b *Broker) find(id string) (*container, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.current[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, spec.ErrNotFound)
	}
	return c, nil
}
