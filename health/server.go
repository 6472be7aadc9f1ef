package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// DefaultIdle is how long a server without containers stays.
const DefaultIdle = 30 * time.Second

// Config says what a server works with.
type Config struct {
	Socket *net.UnixConn // where package enlist sends to; the server owns it
	Store  *state.Store
	Helper string // path of cleat-init, which becomes the commands of checks

	// Manager is the service manager; nil is for tests. Stored are descriptors
	// that it kept for an earlier server; the server owns them.
	Manager *Manager
	Stored  []fdstore.Passed

	Idle time.Duration // without containers after which Serve returns; 0 means DefaultIdle, negative never

	// Warn takes a message about something that is wrong outside of the server.
	Warn func(format string, args ...any)
}

// Server watches over the containers that were enlisted.
type Server struct {
	cfg Config
	wg  sync.WaitGroup // of the runs

	mu     sync.Mutex
	runs   map[string]*run // by id of the container
	closed bool

	machines sync.Mutex // held while systemd-machined is told of one

	stored map[string]int // notification sockets that nobody has yet, by id; of the goroutine of Serve alone
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	s := &Server{cfg: cfg, runs: map[string]*run{}, stored: map[string]int{}}
	for _, p := range cfg.Stored {
		s.keep(p.Name, p.FD)
	}
	return s
}

// Serve works until ctx is done, which it returns the cause of, or until there has
// been no container for Config.Idle: then it returns nil. It begins with the
// containers that run.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	if err := s.adopt(ctx); err != nil {
		return err
	}
	s.arm()
	stop := context.AfterFunc(ctx, s.wake)
	defer stop()
	for {
		id, fds, err := s.next()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.isIdle() {
				return nil
			}
			s.arm()
		case err != nil:
			return fmt.Errorf("read from the socket: %w", err)
		default:
			s.enlisted(ctx, id, fds)
		}
	}
}

// enlisted begins with a container that has just been started.
func (s *Server) enlisted(ctx context.Context, id string, fds []int) {
	for _, fd := range fds {
		s.keep(id, fd)
	}
	s.begin(ctx, id)
	s.introduce(ctx, id)
	if fd, ok := s.stored[id]; ok { // there is no use for it
		_ = unix.Close(fd)
		delete(s.stored, id)
	}
}

// adopt begins with the containers that run already.
func (s *Server) adopt(ctx context.Context) error {
	ids, err := s.cfg.Store.Lives()
	if err != nil {
		return fmt.Errorf("list running containers: %w", err)
	}
	for _, id := range ids {
		s.begin(ctx, id)
		s.introduce(ctx, id)
	}
	for id, fd := range s.stored { // of containers that have ended
		_ = unix.Close(fd)
		s.cfg.Manager.forget(id)
	}
	clear(s.stored)
	return nil
}

// keep remembers a notification socket until its container is looked at.
func (s *Server) keep(id string, fd int) {
	if old, ok := s.stored[id]; ok {
		_ = unix.Close(old)
	}
	s.stored[id] = fd
}

// idLength is that of a container's id.
const idLength = 64

// next waits for the next container's id, and its notification socket.
func (s *Server) next() (id string, fds []int, err error) {
	var buf [idLength + 1]byte
	oob := make([]byte, unix.CmsgSpace(4)) // for one descriptor
	n, oobn, _, _, err := s.cfg.Socket.ReadMsgUnix(buf[:], oob)
	if err != nil {
		return "", nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", nil, fmt.Errorf("decode control message: %w", err)
	}
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return string(buf[:n]), fds, nil
}

// wake makes next return for good.
func (s *Server) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.cfg.Socket.SetReadDeadline(time.Unix(1, 0))
}

// arm starts the idle time anew, or ends it.
func (s *Server) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case len(s.runs) > 0 || s.cfg.Idle < 0:
		_ = s.cfg.Socket.SetReadDeadline(time.Time{})
	default:
		_ = s.cfg.Socket.SetReadDeadline(time.Now().Add(s.cfg.Idle))
	}
}

func (s *Server) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs) == 0
}

// begin watches over the run of container id that is under way, if there is one.
// It is called by one goroutine.
func (s *Server) begin(ctx context.Context, id string) {
	r, err := s.open(id)
	if errors.Is(err, spec.ErrNotFound) || errors.Is(err, spec.ErrConflict) {
		s.arm()
		return // it has ended already
	}
	if err != nil {
		s.cfg.Warn("watch container %s: %v, ignoring", spec.ShortID(id), err)
		return
	}
	s.mu.Lock()
	old := s.runs[id]
	s.mu.Unlock()
	if old != nil {
		_, bringsSocket := s.stored[id]
		if old.live.InvocationID == r.live.InvocationID && old.live.PID == r.live.PID && !bringsSocket {
			r.payload.Close()
			return
		}
		// It is over, which its goroutine is about to notice; or it was found by
		// adopt, before its notification socket had come.
		old.cancel()
		<-old.done
	}
	if r.container.Notify == spec.NotifyContainer {
		r.notices = s.noticesOf(r)
	}
	ctx, r.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.runs[id] = r
	s.mu.Unlock()
	s.arm()
	s.wg.Go(func() { s.follow(ctx, r) })
}

// open reads what there is to know of the run under way of container id. Without
// one, or without anything to do, it returns spec.ErrNotFound.
func (s *Server) open(id string) (*run, error) {
	c, err := s.cfg.Store.Load(id)
	if err != nil {
		return nil, err
	}
	if !c.Watched() {
		return nil, fmt.Errorf("container %s has no check: %w", c.Name, spec.ErrNotFound)
	}
	live, err := s.cfg.Store.LoadLive(id)
	if err != nil {
		return nil, err
	}
	payload, err := sandbox.OpenPayload(live.PID, c.UnitName())
	if err != nil {
		return nil, err
	}
	return &run{
		container: c, live: live, payload: payload, done: make(chan struct{}),
		store: s.cfg.Store, helper: s.cfg.Helper, manager: s.cfg.Manager, warn: s.cfg.Warn,
	}, nil
}

// follow watches over r until it ends.
func (s *Server) follow(ctx context.Context, r *run) {
	defer close(r.done)
	defer r.cancel()
	var checks sync.WaitGroup
	if r.container.Healthcheck.Argv() != nil {
		checks.Go(func() { r.check(ctx) })
	}
	if r.notices != nil {
		checks.Go(func() { r.passOn(ctx) })
	}
	if err := r.payload.Wait(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Warn("watch container %q: %v, ignoring", r.container.Name, err)
	}
	r.cancel()
	checks.Wait()
	r.end()
	s.mu.Lock()
	if s.runs[r.container.ID] == r {
		delete(s.runs, r.container.ID)
	}
	s.mu.Unlock()
	s.arm()
}
