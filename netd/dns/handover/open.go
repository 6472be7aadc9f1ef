package handover

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd/nft"
)

// Addr is the address that containers know as their name server.
var Addr = [4]byte{127, 0, 0, 11}

// Port is that of DNS, where containers ask. The sockets are bound to others, to
// which packets are led, so that a container can be a name server itself: whoever
// binds port 53 of all addresses would collide with one that is bound already.
const Port = 53

// backlog is how many connections may wait to be accepted.
const backlog = 64

// Sockets are descriptors of the two sockets of one container.
type Sockets struct {
	UDP, TCP int
}

// Close closes both.
func (s Sockets) Close() error {
	return errors.Join(unix.Close(s.UDP), unix.Close(s.TCP))
}

// Open binds both sockets in network namespace ns, a descriptor that stays the
// caller's, leads to them what is sent to Addr and Port, and brings lo up. It works on a thread of its own, which ends if
// it cannot come back.
func Open(ns int) (Sockets, error) {
	type result struct {
		s   Sockets
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- result{err: fmt.Errorf("open own network namespace: %w", err)}
			return
		}
		defer func() { _ = unix.Close(home) }()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{err: fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		s, err := open()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{s, err}
	}()
	r := <-done
	return r.s, r.err
}

// open binds both sockets in the network namespace of the calling thread.
func open() (s Sockets, err error) {
	// Without it there is no such address. (IP_FREEBIND would not do: in a new
	// namespace, which has no table of local addresses, the kernel takes every
	// address for one of many and answers from another.)
	if err := loopbackUp(); err != nil {
		return s, fmt.Errorf("bring up lo: %w", err)
	}
	if s.UDP, err = bind(unix.SOCK_DGRAM); err != nil {
		return s, err
	}
	if s.TCP, err = bind(unix.SOCK_STREAM); err != nil {
		return s, errors.Join(err, unix.Close(s.UDP))
	}
	if err := s.answer(); err != nil {
		return s, errors.Join(fmt.Errorf("listen for name lookups: %w", err), s.Close())
	}
	return s, nil
}

// answer makes the sockets those that answer at Addr and Port.
func (s Sockets) answer() error {
	if err := unix.Listen(s.TCP, backlog); err != nil {
		return err
	}
	udp, err := portOf(s.UDP)
	if err != nil {
		return err
	}
	tcp, err := portOf(s.TCP)
	if err != nil {
		return err
	}
	return nft.Lead(Addr, Port, nft.Ports{UDP: udp, TCP: tcp})
}

func portOf(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("read port of socket: %w", err)
	}
	in4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("read port of socket: %w", unix.EAFNOSUPPORT)
	}
	return uint16(in4.Port), nil
}

func bind(kind int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket for name lookups: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: Addr}); err != nil { // any port
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %d.%d.%d.%d for name lookups: %w", Addr[0], Addr[1], Addr[2], Addr[3], err)
	}
	return fd, nil
}

// loopbackUp brings lo up, which gives it its addresses.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
