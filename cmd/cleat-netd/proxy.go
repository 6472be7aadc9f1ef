package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/daemon"
	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/proxy"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
)

// proxyFor carries connections from the sockets that systemd has passed to
// container id, until there are none.
func proxyFor(ctx context.Context, store *state.Store, id string) error {
	c, err := store.Load(id)
	if err != nil {
		return err
	}
	sockets, err := passedSockets(store.Dir(id))
	if err != nil {
		return err
	}
	h := host(store)
	cfg := proxy.Config{
		Sockets: sockets,
		Run:     func() (proxy.Run, error) { return runOf(store, h, id) },
		Warn:    func(sentence string) { program.Warn("container %q: %s", c.Name, sentence) },
	}
	if c.Activated() {
		cfg.Wake = func(ctx context.Context) error { return wake(ctx, c) }
		cfg.Lead = func(ctx context.Context, p netd.Port) error { return h.Lead(ctx, id, p) }
		waits(&cfg, store, h, c)
	}
	err = proxy.Serve(ctx, cfg)
	if errors.Is(err, daemon.ErrSignal) {
		return nil
	}
	return err
}

func host(store *state.Store) wire.Host {
	return wire.Host{RunRoot: store.RunRoot(), Network: func(id string) (n netd.Network, err error) {
		return n, store.LoadNetwork(id, &n)
	}}
}

// passedSockets returns the sockets that systemd has passed, each with the port
// that it is of, by the wiring in a container's directory.
func passedSockets(dir string) ([]proxy.Socket, error) {
	w, err := netd.LoadWiring(dir)
	if err != nil {
		return nil, err
	}
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return nil, err
	}
	var sockets []proxy.Socket
	for _, p := range passed {
		port, err := portOf(p.FD, w.Ports)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, proxy.Socket{File: os.NewFile(uintptr(p.FD), p.Name), Port: port})
	}
	if len(sockets) == 0 {
		return nil, fmt.Errorf("no socket was passed by systemd: %w", spec.ErrInvalid)
	}
	return sockets, nil
}

// portOf returns the one of ports that a socket is of.
func portOf(fd int, ports []netd.Port) (netd.Port, error) {
	local, err := localAddr(fd)
	if err != nil {
		return netd.Port{}, fmt.Errorf("socket %d: %w", fd, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return netd.Port{}, fmt.Errorf("socket %d: %w", fd, err)
	}
	proto := netd.TCP
	if kind == unix.SOCK_DGRAM {
		proto = netd.UDP
	}
	at := netd.Port{Proto: proto, HostIP: local.Addr(), HostPort: local.Port()}
	for _, p := range ports {
		if p.Overlaps(at) {
			return p, nil
		}
	}
	return netd.Port{}, fmt.Errorf("socket %s is of no published port: %w", local, spec.ErrNotFound)
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("it is not of an IP network: %w", spec.ErrInvalid)
}

// runOf returns the run of container id that is under way and not about to be
// ended. A payload that is dead has no run, although its end may not be recorded
// yet.
func runOf(store *state.Store, h wire.Host, id string) (proxy.Run, error) {
	live, err := store.LoadLive(id)
	if err != nil {
		return proxy.Run{}, err
	}
	l, err := h.Lives().Load(id)
	if err != nil {
		return proxy.Run{}, err
	}
	if l.Closing {
		return proxy.Run{}, fmt.Errorf("run of container %s: %w", spec.ShortID(id), spec.ErrConflict)
	}
	if errors.Is(unix.Kill(live.PID, 0), unix.ESRCH) {
		return proxy.Run{}, fmt.Errorf("run of container %s: %w", spec.ShortID(id), spec.ErrNotFound)
	}
	run := proxy.Run{ID: live.InvocationID, PID: live.PID}
	run.Addr4, run.Addr6 = wire.Reachable(l)
	return run, nil
}

// wake starts the container's service, or waits for the start that is under way.
func wake(ctx context.Context, c spec.Container) error {
	conn, err := supervisor.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Start(ctx, c.UnitName())
}
