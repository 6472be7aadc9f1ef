// Package serve is the DNS server of all containers on user-defined networks. Its
// sockets come from the containers' own network namespaces (package handover) and
// lie in systemd's descriptor store, so that a crash or an upgrade of the server
// only makes its clients wait. It needs no privilege but to read cleat's records.
package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns"
)

// DefaultIdle is how long a server without containers stays.
const DefaultIdle = 30 * time.Second

// retryPause is the time to wait for what the system is short of.
const retryPause = 100 * time.Millisecond

// Store keeps descriptors over the death of the server.
type Store interface {
	// Keep adds descriptors under name.
	Keep(name string, fds ...int) error
	// Forget removes all descriptors under name.
	Forget(name string) error
}

// Config says what a server works with.
type Config struct {
	Listener int              // descriptor of the listening SOCK_SEQPACKET socket; the server owns it
	Stored   []fdstore.Passed // what the store held; the server owns the descriptors
	Store    Store            // nil keeps nothing: containers of a dead server get no answers

	Lives   netd.Lives                            // records of running containers
	Network func(id string) (netd.Network, error) // for the networks' names

	Cgroups    string        // where cgroup2 is mounted; "" means netd.CgroupRoot
	ResolvConf []string      // resolv.conf(5) files, of which the first with more than a stub counts; nil: the host's
	Idle       time.Duration // without containers after which Serve returns; 0 means DefaultIdle, negative never
	PeerUID    uint32        // the only user id that is served
	Rate       int           // as in dns.Server

	// Warn takes a message about something that is wrong outside of the server.
	// No message holds what a container asked.
	Warn func(format string, args ...any)
}

// Server is the server. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	listen *seqpacket.Listener
	dir    *directory
	dns    dns.Server
	wg     sync.WaitGroup // connections and containers

	change sync.Mutex // held while a container comes or goes

	mu         sync.Mutex
	containers map[string]*container // by id
	conns      map[*seqpacket.Conn]struct{}
	idle       *time.Timer
}

// New makes a server. Containers in cfg.Stored are taken over, but not answered
// before Serve; sockets of what does not run any more are closed.
func New(cfg Config) (*Server, error) {
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Cgroups == "" {
		cfg.Cgroups = netd.CgroupRoot
	}
	if cfg.ResolvConf == nil {
		cfg.ResolvConf = []string{resolvConf, resolvedServer}
	}
	listen, err := seqpacket.NewListener(cfg.Listener)
	if err != nil {
		return nil, fmt.Errorf("use listening socket: %w", err)
	}
	dir, err := newDirectory(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, listen: listen, dir: dir, dns: dns.Server{Rate: cfg.Rate},
		containers: map[string]*container{}, conns: map[*seqpacket.Conn]struct{}{},
	}
	s.takeOver(cfg.Stored)
	return s, nil
}

// Serve works until ctx is done, which it returns the cause of, or until there
// has been no container for Config.Idle: then it returns nil. In both cases the
// containers are left to the next server, by way of the store.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer s.wg.Wait()
	defer cancel(context.Canceled)
	s.mu.Lock()
	for _, c := range s.containers {
		s.start(ctx, c)
	}
	s.mu.Unlock()
	s.wg.Go(func() { s.follow(ctx) })
	s.armIdle()
	stop := context.AfterFunc(ctx, func() { _ = s.listen.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := s.acceptAll(ctx)
	cancel(err)
	s.shutDown()
	return err
}

func (s *Server) acceptAll(ctx context.Context) error {
	for {
		fd, err := s.listen.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = unix.Close(fd)
			}
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The idle time is over. Connections are counted by this goroutine
			// alone, and one that it has not accepted makes systemd start a server.
			if s.isIdle() {
				return nil
			}
			if err := s.listen.SetDeadline(time.Time{}); err != nil {
				return err
			}
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM):
			s.cfg.Warn("accept connection: %v, retrying", err)
			if err := pause.For(ctx, retryPause); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("accept connection: %w", err)
		default:
			s.welcome(ctx, fd)
		}
	}
}

// welcome starts the goroutine of a new connection.
func (s *Server) welcome(ctx context.Context, fd int) {
	conn, err := seqpacket.New(fd)
	if err != nil {
		s.cfg.Warn("use connection: %v, ignoring", err)
		return
	}
	s.mu.Lock()
	s.conns[conn] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(func() {
		s.handle(ctx, conn)
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		s.armIdle()
	})
}

// armIdle starts the idle time anew if there is nothing to do.
func (s *Server) armIdle() {
	if s.cfg.Idle < 0 || !s.isIdle() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = time.AfterFunc(s.cfg.Idle, func() { _ = s.listen.SetDeadline(time.Unix(1, 0)) })
		return
	}
	s.idle.Reset(s.cfg.Idle)
}

func (s *Server) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) == 0 && len(s.containers) == 0
}

// shutDown ends everything that Serve waits for.
func (s *Server) shutDown() {
	s.dir.watch.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
	}
	for conn := range s.conns {
		_ = conn.SetDeadline(time.Unix(1, 0))
	}
	_ = s.listen.Close()
}

// follow drops containers when their runs end, should nobody say so.
func (s *Server) follow(ctx context.Context) {
	buf := make([]byte, 4096)
	for {
		wds, lost, err := s.dir.watch.next(buf)
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Warn("watch containers: %v, going on without", err)
			}
			return
		}
		if s.dir.note(wds, lost) {
			s.sweep()
		}
	}
}
