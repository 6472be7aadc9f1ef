package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// choosePorts makes the wiring of c complete for a start: ports that are left
// open get one that is free now. A container on no network has none.
func (e *Engine) choosePorts(c spec.Container) ([]spec.Port, error) {
	if !publishes(c) {
		return nil, nil
	}
	w, err := e.wiring(c)
	if err != nil {
		return nil, err
	}
	open := slices.ContainsFunc(w.Ports, func(p spec.Port) bool { return p.HostPort == 0 || p.HostPortLast != 0 })
	if !open {
		return w.Ports, nil
	}
	if w.Ports, err = netd.Assign(w.Ports, uint(random(netd.EphemeralLast)), portFree); err != nil {
		return nil, err
	}
	old, err := netd.LoadWiring(e.state.Dir(c.ID))
	if err != nil {
		return nil, err
	}
	w.Hosts = old.Hosts
	data, err := w.Encode()
	if err != nil {
		return nil, err
	}
	return w.Ports, e.state.SaveFiles(c.ID, map[string][]byte{netd.WiringFile: data})
}

// publishes reports whether c may have a socket unit.
func publishes(c spec.Container) bool {
	return isWired(c) && (len(c.Network.Ports) > 0 || c.Network.PublishAll)
}

// portFree reports whether a port on the host can be had.
func portFree(p spec.Port) bool {
	for _, l := range unitgen.Listens([]spec.Port{p}, link.HasIPv6()) {
		if tryBind(l) != nil {
			return false
		}
	}
	return true
}

// tryBind opens and closes the socket that l stands for.
func tryBind(l unitgen.Listen) error {
	addr, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return err
	}
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	if l.Type == "Datagram" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// As systemd sets them: the first ends quarrels with connections that are
	// over, the second keeps the families apart.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	} else {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		err = unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())})
	}
	if err != nil || kind == unix.SOCK_DGRAM {
		return err
	}
	return unix.Listen(fd, 1) // of two listeners only this tells, because of SO_REUSEADDR
}

// checkHostAddresses refuses to publish on an address that the host does not
// have. The socket unit would take it, since at boot an address may come later.
func checkHostAddresses(ports []spec.Port) error {
	var own []net.Addr
	for _, p := range ports {
		if !p.HostIP.IsValid() || p.HostIP.IsUnspecified() || p.HostIP.IsLoopback() {
			continue
		}
		if own == nil {
			var err error
			if own, err = net.InterfaceAddrs(); err != nil {
				return fmt.Errorf("list addresses of the host: %w", err)
			}
		}
		if !slices.ContainsFunc(own, func(a net.Addr) bool { return isAddr(a, p.HostIP) }) {
			return invalid("port %s: %s is not an address of this host", p, p.HostIP)
		}
	}
	return nil
}

func isAddr(a net.Addr, want netip.Addr) bool {
	p, err := netip.ParsePrefix(a.String())
	return err == nil && p.Addr().Unmap() == want
}

// portTaken explains why the socket unit of c could not be started: it returns an
// error that wraps spec.ErrConflict if one of the ports is not to be had. If the
// holder is the socket of a run that is over, it is stopped, and the result is
// nil: the start can be tried again.
func (e *Engine) portTaken(ctx context.Context, conn *supervisor.Conn, c spec.Container, ports []spec.Port) error {
	for _, p := range ports {
		for _, l := range unitgen.Listens([]spec.Port{p}, link.HasIPv6()) {
			err := tryBind(l)
			if err == nil {
				continue
			}
			if !errors.Is(err, unix.EADDRINUSE) {
				return fmt.Errorf("port %s: listen on %s: %w", p, l.Address, err)
			}
			holder, err := e.portHolder(ctx, conn, c, p)
			if err != nil {
				return err
			}
			if holder == "" || tryBind(l) == nil { // or given up while its holder was looked for
				continue
			}
			return conflict("port %d/%s on %s is already allocated (by %s)", p.HostPort, p.Proto, hostOf(l), holder)
		}
	}
	return nil
}

func hostOf(l unitgen.Listen) string {
	addr, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return l.Address
	}
	return addr.Addr().String()
}

// portHolder says for people who has port p. A socket of a run that is over is
// stopped, and the result is "".
func (e *Engine) portHolder(ctx context.Context, conn *supervisor.Conn, c spec.Container, p spec.Port) (string, error) {
	units, err := conn.Units(ctx, "cleat-*.socket")
	if err != nil {
		return "", err
	}
	for _, u := range units {
		name, ok := containerName(u.Name)
		if !ok || unitgen.ServiceOf(u.Name) == c.UnitName() || !e.claims(ctx, conn, u.Name, p) {
			continue
		}
		service := unitgen.ServiceOf(u.Name)
		props, err := conn.Properties(ctx, service)
		if err != nil && !isNotFound(err) {
			return "", err
		}
		owner, findErr := e.ownerOf(service)
		waits := findErr == nil && owner.Activated() // whether it runs or not
		if waits || err == nil && props.Active() && !e.ends(owner, props) {
			if findErr == nil {
				name = owner.Name
			}
			return fmt.Sprintf("container %q", name), nil
		}
		if err := settle(ctx, conn, service); err != nil {
			return "", err
		}
		if err := ignoreNotFound(conn.Stop(ctx, unitgen.ProxyName(service))); err != nil {
			return "", err
		}
		return "", ignoreNotFound(conn.Stop(ctx, u.Name))
	}
	return processAt(p), nil
}

// ends reports whether a run of c, whose unit is as props says, is just ending and
// no restart follows. A container that is gone is the zero one.
func (e *Engine) ends(c spec.Container, props supervisor.UnitProperties) bool {
	if props.ActiveState != "deactivating" {
		return false
	}
	if c.Restart.Mode == spec.RestartNo || c.Restart.Mode == "" {
		return true
	}
	run, err := e.state.LoadRun(c.ID)
	return err == nil && run.Stopped
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// claims reports whether a socket unit listens on port p.
func (e *Engine) claims(ctx context.Context, conn *supervisor.Conn, socket string, p spec.Port) bool {
	listens, err := conn.Listens(ctx, socket)
	if err != nil {
		return false // it is gone
	}
	for _, l := range listens {
		addr, err := netip.ParseAddrPort(l.Address)
		proto := map[string]spec.Proto{"Stream": spec.TCP, "Datagram": spec.UDP}[l.Type]
		if err == nil && (spec.Port{Proto: proto, HostIP: addr.Addr(), HostPort: addr.Port()}).Overlaps(p) {
			return true
		}
	}
	return false
}

// processAt names the program that has a port open, as far as /proc tells.
func processAt(p spec.Port) string {
	const other = "another program"
	var tables []string
	switch p.Proto {
	case spec.TCP:
		tables = []string{"tcp", "tcp6"}
	case spec.UDP:
		tables = []string{"udp", "udp6"}
	case spec.SCTP:
		return other
	}
	for _, t := range tables {
		text, err := os.ReadFile("/proc/net/" + t)
		if err != nil {
			continue
		}
		for _, inode := range inodesAt(string(text), p.HostPort, p.Proto) {
			if name := ownerOf(inode); name != "" {
				return name
			}
		}
	}
	return other
}

// inodesAt returns the inodes of sockets bound to a local port, from the text of
// /proc/net/tcp and its kin, see proc_net(5).
func inodesAt(table string, port uint16, proto spec.Proto) []string {
	const listening = "0A"
	var inodes []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) || proto == spec.TCP && f[3] != listening {
			continue
		}
		inodes = append(inodes, f[9])
	}
	return inodes
}

// ownerOf names the process that has the socket with the given inode.
func ownerOf(inode string) string {
	const procDir = "/proc"
	pids, err := os.ReadDir(procDir)
	if err != nil {
		return ""
	}
	want := "socket:[" + inode + "]"
	for _, pid := range pids {
		dir := procDir + "/" + pid.Name()
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue // not a process, or gone
		}
		for _, fd := range fds {
			if target, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil && target == want {
				comm, _ := os.ReadFile(dir + "/comm") // gone: then without a name
				return strings.TrimSpace(fmt.Sprintf("%s, process %s", strings.TrimSpace(string(comm)), pid.Name()))
			}
		}
	}
	return ""
}
