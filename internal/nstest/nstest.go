// Package nstest gives tests network namespaces of their own: hosts, neighbours
// and containers that share nothing with the machine the tests run on.
package nstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
)

// NS is a network namespace with a thread that lives in it. It ends with the
// test.
type NS struct {
	t    testing.TB
	name string
	f    *os.File
	work chan func()
}

// New makes a network namespace with lo up.
func New(t testing.TB, name string) *NS {
	t.Helper()
	testenv.NeedRoot(t)
	ns := &NS{t: t, name: name, work: make(chan func())}
	ns.begin(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	ns.Do(func() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatalf("bring up lo: %v", err)
		}
	})
	return ns
}

// Of returns the network namespace of process pid, which does not end with the
// test.
func Of(t testing.TB, name string, pid int) *NS {
	t.Helper()
	testenv.NeedRoot(t)
	ns := &NS{t: t, name: name, work: make(chan func())}
	ns.begin(func() error {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	})
	return ns
}

// begin starts the thread that lives in the namespace, which enter goes to.
func (ns *NS) begin(enter func() error) {
	ns.t.Helper()
	ready := make(chan error)
	go ns.serve(enter, ready)
	if err := <-ready; err != nil {
		ns.t.Fatalf("enter network namespace %s: %v", ns.name, err)
	}
	ns.t.Cleanup(func() {
		close(ns.work)
		_ = ns.f.Close()
	})
}

// serve runs what Do hands over. Its thread is never unlocked, so it ends with
// the goroutine, and with it a namespace that is only its own.
func (ns *NS) serve(enter func() error, ready chan<- error) {
	runtime.LockOSThread()
	err := enter()
	if err == nil {
		ns.f, err = os.Open("/proc/thread-self/ns/net")
	}
	ready <- err
	for f := range ns.work {
		f()
	}
}

// FD returns the namespace's descriptor, which stays the namespace's own.
func (ns *NS) FD() int { return int(ns.f.Fd()) }

// Do runs f in the namespace and returns when it has ended. Sockets that f
// opens stay in the namespace wherever they are used later.
func (ns *NS) Do(f func()) {
	done := make(chan struct{})
	ns.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Link joins two namespaces by a cable: an interface called like the other
// namespace in each.
func Link(a, b *NS) {
	a.t.Helper()
	a.Do(func() {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: b.name, MTU: 1500}, PeerName: a.name, PeerNamespace: netlink.NsFd(b.FD())}
		if err := netlink.LinkAdd(pair); err != nil {
			a.t.Fatalf("link %s to %s: %v", a.name, b.name, err)
		}
	})
	a.up(b.name)
	b.up(a.name)
}

func (ns *NS) up(dev string) {
	ns.t.Helper()
	ns.Do(func() {
		l, err := netlink.LinkByName(dev)
		if err == nil {
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/accept_dad", []byte("0"), 0) // no waiting for addresses
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			ns.t.Fatalf("bring up %s in %s: %v", dev, ns.name, err)
		}
	})
}

// Addr gives the interface called dev addresses like 10.0.0.1/24.
func (ns *NS) Addr(dev string, addrs ...string) {
	ns.t.Helper()
	ns.Do(func() {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			ns.t.Fatalf("find %s in %s: %v", dev, ns.name, err)
		}
		for _, s := range addrs {
			a, err := netlink.ParseAddr(s)
			if err == nil {
				a.Flags = unix.IFA_F_NODAD
				err = netlink.AddrAdd(l, a)
			}
			if err != nil {
				ns.t.Fatalf("add address %s to %s in %s: %v", s, dev, ns.name, err)
			}
		}
	})
}

// Route sends dst, a prefix or "default" in the gateway's family, by gateway.
func (ns *NS) Route(dst, gateway string) {
	ns.t.Helper()
	ns.Do(func() {
		r := &netlink.Route{Gw: net.ParseIP(gateway)}
		if dst != "default" {
			_, p, err := net.ParseCIDR(dst)
			if err != nil {
				ns.t.Fatal(err)
			}
			r.Dst = p
		}
		if err := netlink.RouteAdd(r); err != nil {
			ns.t.Fatalf("route %s by %s in %s: %v", dst, gateway, ns.name, err)
		}
	})
}

// Run runs a program in the namespace and returns what it prints. The test ends
// if the program fails.
func (ns *NS) Run(argv ...string) string {
	ns.t.Helper()
	out, err := ns.Try(argv...)
	if err != nil {
		ns.t.Fatalf("%s: %s: %v: %s", ns.name, strings.Join(argv, " "), err, out)
	}
	return out
}

// Try is Run for a program that may fail.
func (ns *NS) Try(argv ...string) (out string, err error) {
	ns.Do(func() { // a child starts in the namespace of the thread that forks it
		var b []byte
		b, err = exec.CommandContext(ns.t.Context(), argv[0], argv[1:]...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// Sysctl returns a setting below /proc/sys/net.
func (ns *NS) Sysctl(key string) string {
	ns.t.Helper()
	var b []byte
	var err error
	ns.Do(func() { b, err = os.ReadFile("/proc/sys/net/" + key) })
	if err != nil {
		ns.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// SetSysctl changes a setting below /proc/sys/net of the namespace.
func (ns *NS) SetSysctl(key, value string) {
	ns.t.Helper()
	var err error
	ns.Do(func() { err = os.WriteFile("/proc/sys/net/"+key, []byte(value), 0) })
	if err != nil {
		ns.t.Fatal(err)
	}
}

// Echo answers on addr: over tcp each connection, over udp each datagram, gets
// the server's name and the client's address, as in "web 10.0.0.2". Seen returns
// how often it was asked, whether or not the answers arrived.
func (ns *NS) Echo(network, addr string) (seen func() int) {
	ns.t.Helper()
	var count atomic.Int64
	var err error
	var closer io.Closer
	ns.Do(func() {
		if strings.HasPrefix(network, "udp") {
			var c net.PacketConn
			if c, err = new(net.ListenConfig).ListenPacket(ns.t.Context(), network, addr); err == nil {
				closer = c
				go ns.answerPackets(c, &count)
			}
			return
		}
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ns.t.Context(), network, addr); err == nil {
			closer = l
			go ns.answerConns(l, &count)
		}
	})
	if err != nil {
		ns.t.Fatalf("listen in %s: %v", ns.name, err)
	}
	ns.t.Cleanup(func() { _ = closer.Close() })
	return func() int { return int(count.Load()) }
}

func (ns *NS) answer(from net.Addr) []byte {
	host, _, _ := net.SplitHostPort(from.String())
	return []byte(ns.name + " " + host)
}

func (ns *NS) answerPackets(c net.PacketConn, count *atomic.Int64) {
	buf := make([]byte, 100)
	for {
		_, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			count.Add(1)
			_, _ = c.WriteTo(ns.answer(from), from)
		}
	}
}

func (ns *NS) answerConns(l net.Listener, count *atomic.Int64) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		count.Add(1)
		_, _ = c.Write(ns.answer(c.RemoteAddr()))
		_ = c.Close()
	}
}

// The times to wait for an answer. One that is expected is waited for as long as
// a busy machine takes. One that must not come is not waited for in earnest.
const (
	patient = 10 * time.Second
	brief   = 400 * time.Millisecond
)

// Ask connects to addr and returns the answer of an Echo. It is for answers that
// are expected; without one it returns "" after a long time.
func (ns *NS) Ask(network, addr string) string {
	got, _ := ns.ask(network, "", addr, patient)
	return got
}

// AskInVain is Ask for answers that must not come.
func (ns *NS) AskInVain(network, addr string) string {
	got, _ := ns.ask(network, "", addr, brief)
	return got
}

// AskFrom is Ask from a local address that also says why there was no answer.
func (ns *NS) AskFrom(network, local, addr string) (string, error) {
	return ns.ask(network, local, addr, patient)
}

// AskFromInVain is AskFrom for answers that must not come.
func (ns *NS) AskFromInVain(network, local, addr string) (string, error) {
	return ns.ask(network, local, addr, brief)
}

func (ns *NS) ask(network, local, addr string, patience time.Duration) (string, error) {
	var c net.Conn
	var err error
	d := net.Dialer{Timeout: patience}
	if local != "" {
		if d.LocalAddr, err = resolve(network, local); err != nil {
			return "", err
		}
	}
	ns.Do(func() { c, err = d.DialContext(ns.t.Context(), network, addr) })
	if err != nil {
		return "", err
	}
	defer c.Close()
	buf := make([]byte, 100)
	for end := time.Now().Add(patience); ; {
		deadline := end
		if strings.HasPrefix(network, "udp") { // a datagram may be lost, so it is sent again
			deadline = time.Now().Add(brief)
			if _, err := c.Write([]byte("?")); err != nil {
				return "", err
			}
		}
		if err := c.SetReadDeadline(deadline); err != nil {
			return "", err
		}
		n, err := c.Read(buf)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(end) {
			return string(buf[:n]), err
		}
	}
}

func resolve(network, addr string) (net.Addr, error) {
	if strings.HasPrefix(network, "udp") {
		return net.ResolveUDPAddr(network, addr)
	}
	return net.ResolveTCPAddr(network, addr)
}

// Links returns the names of the namespace's interfaces.
func (ns *NS) Links() []string {
	ns.t.Helper()
	var names []string
	ns.Do(func() {
		all, err := netlink.LinkList()
		for errors.Is(err, netlink.ErrDumpInterrupted) { // a link came or went meanwhile
			all, err = netlink.LinkList()
		}
		if err != nil {
			ns.t.Fatalf("list links in %s: %v", ns.name, err)
		}
		for _, l := range all {
			names = append(names, fmt.Sprint(l.Attrs().Name))
		}
	})
	return names
}
