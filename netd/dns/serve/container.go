package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/netd/dns"
	"github.com/cleat-project/cleat/spec"
)

// maxContainers is how many containers can be answered. The names of their
// sockets in the store have to fit into one environment variable.
const maxContainers = 4500

// container is one container's pair of sockets.
type container struct {
	id   string
	udp  net.PacketConn
	tcp  net.Listener
	from [2]uint64 // the sockets' inodes

	stop context.CancelFunc // ends the serving, which closes the sockets; nil before it has begun
	done chan struct{}      // closed when they are closed
}

// storeName returns the name of a container's sockets in the store, short for
// the sake of maxContainers. The name of a container's device on the host rests
// on the same digits.
func storeName(id string) string { return spec.ShortID(id) }

// makeContainer makes a container of its sockets, of which it makes copies.
func makeContainer(id string, udp, tcp int) (c *container, err error) {
	c = &container{id: id, done: make(chan struct{})}
	for i, fd := range []int{udp, tcp} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, fmt.Errorf("look at socket: %w", err)
		}
		c.from[i] = st.Ino
	}
	if c.udp, err = copyOf(udp, net.FilePacketConn); err != nil {
		return nil, err
	}
	if c.tcp, err = copyOf(tcp, net.FileListener); err != nil {
		return nil, errors.Join(err, c.udp.Close())
	}
	return c, nil
}

// copyOf gives the runtime a descriptor of its own.
func copyOf[T any](fd int, open func(*os.File) (T, error)) (sock T, err error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return sock, fmt.Errorf("duplicate socket: %w", err)
	}
	f := os.NewFile(uintptr(dup), "socket")
	defer f.Close()
	if sock, err = open(f); err != nil {
		return sock, fmt.Errorf("use socket: %w", err)
	}
	return sock, nil
}

// sort returns which of descriptors is the container's UDP and which its TCP
// socket.
func sort(fds []int) (udp, tcp int, err error) {
	udp, tcp = -1, -1
	for _, fd := range fds {
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || domain != unix.AF_INET {
			return -1, -1, fmt.Errorf("a descriptor is no IPv4 socket: %w", spec.ErrInvalid)
		}
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return -1, -1, fmt.Errorf("look at socket: %w", err)
		}
		switch kind {
		case unix.SOCK_DGRAM:
			udp = fd
		case unix.SOCK_STREAM:
			tcp = fd
		}
	}
	if udp < 0 || tcp < 0 || len(fds) != 2 {
		return -1, -1, fmt.Errorf("%d descriptors, want a UDP and a TCP socket: %w", len(fds), spec.ErrInvalid)
	}
	return udp, tcp, nil
}

// start begins to answer. The caller holds mu.
func (s *Server) start(ctx context.Context, c *container) {
	ctx, c.stop = context.WithCancel(ctx)
	view := func() dns.View { return s.dir.view(c.id) }
	ended := make(chan error, 2)
	s.wg.Go(func() { ended <- s.dns.ServePacket(ctx, c.udp, view) })
	s.wg.Go(func() { ended <- s.dns.ServeStream(ctx, c.tcp, view) })
	s.wg.Go(func() {
		err := <-ended
		c.stop()
		err = errors.Join(err, <-ended)
		close(c.done)
		if err != nil { // whatever a container has done to its namespace, it is its own loss
			s.cfg.Warn("answer container %s: %v, giving up on it", spec.ShortID(c.id), err)
			s.give(c)
		}
	})
}

// give drops c, unless another one has taken its place.
func (s *Server) give(c *container) {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	same := s.containers[c.id] == c
	s.mu.Unlock()
	if same {
		s.drop(c.id)
	}
}

// add serves handover.VerbRegister.
func (s *Server) add(ctx context.Context, id string, fds []int) error {
	udp, tcp, err := sort(fds)
	if err != nil {
		return err
	}
	s.change.Lock()
	defer s.change.Unlock()
	if !s.dir.running(id) {
		return fmt.Errorf("no run of the container is on record: %w", spec.ErrConflict)
	}
	c, err := makeContainer(id, udp, tcp)
	if err != nil {
		return err
	}
	if old := s.get(id); old != nil && old.from == c.from {
		return errors.Join(c.udp.Close(), c.tcp.Close()) // made once more, since the answer got lost
	}
	s.drop(id)
	if err := s.keep(c, udp, tcp); err != nil {
		return errors.Join(err, c.udp.Close(), c.tcp.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[id] = c
	s.start(ctx, c)
	return nil
}

// keep puts the sockets into the store.
func (s *Server) keep(c *container, udp, tcp int) error {
	s.mu.Lock()
	n := len(s.containers)
	for id := range s.containers {
		if storeName(id) == storeName(c.id) {
			s.mu.Unlock()
			return fmt.Errorf("container %s has the same first digits: %w", id, spec.ErrConflict)
		}
	}
	s.mu.Unlock()
	if n >= maxContainers {
		return fmt.Errorf("%d containers look up names already, which is the limit: %w", n, spec.ErrUnavail)
	}
	if s.cfg.Store == nil {
		return nil
	}
	return s.cfg.Store.Keep(storeName(c.id), udp, tcp)
}

func (s *Server) get(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

// forget serves handover.VerbForget.
func (s *Server) forget(id string) {
	s.change.Lock()
	defer s.change.Unlock()
	s.drop(id)
}

// sweep drops the containers that do not run any more.
func (s *Server) sweep() {
	s.change.Lock()
	defer s.change.Unlock()
	for _, id := range s.ids() {
		if !s.dir.running(id) {
			s.drop(id)
		}
	}
}

func (s *Server) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.containers))
	for id := range s.containers {
		ids = append(ids, id)
	}
	return ids
}

// drop closes the sockets of a container, if it has any, here and in the store.
// The caller holds change.
func (s *Server) drop(id string) {
	s.mu.Lock()
	c := s.containers[id]
	delete(s.containers, id)
	s.mu.Unlock()
	if c == nil {
		return
	}
	s.forgetName(storeName(id))
	c.stop()
	<-c.done
	s.armIdle()
}

func (s *Server) forgetName(name string) {
	if s.cfg.Store == nil {
		return
	}
	if err := s.cfg.Store.Forget(name); err != nil {
		s.cfg.Warn("remove %q from store: %v, ignoring", name, err)
	}
}

// takeOver makes containers of what an earlier server left in the store.
func (s *Server) takeOver(stored []fdstore.Passed) {
	s.dir.load()
	groups := map[string][]int{}
	for _, p := range stored {
		groups[p.Name] = append(groups[p.Name], p.FD)
	}
	for name, fds := range groups {
		err := s.restore(name, fds)
		seqpacket.CloseAll(fds)
		if err != nil {
			s.forgetName(name)
		}
		if err != nil && !errors.Is(err, spec.ErrNotFound) {
			s.cfg.Warn("take over %q from store: %v, dropping it", name, err)
		}
	}
}

// restore makes a container of its sockets. That it does not run any more is
// spec.ErrNotFound.
func (s *Server) restore(name string, fds []int) error {
	id := s.dir.find(name)
	if id == "" {
		return spec.ErrNotFound
	}
	udp, tcp, err := sort(fds)
	if err != nil {
		return err
	}
	c, err := makeContainer(id, udp, tcp)
	if err != nil {
		return err
	}
	s.containers[id] = c
	return nil
}
