package wire_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
)

const (
	table        = "cleat-test"
	host4, peer4 = "192.0.2.1", "192.0.2.2"
)

// site is a host with a neighbour, and networks that are kept in memory.
type site struct {
	t         *testing.T
	host, lan *nstest.NS
	wires     wire.Host
	networks  []netd.Network
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, host: nstest.New(t, "host"), lan: nstest.New(t, "lan")}
	nstest.Link(s.host, s.lan)
	s.host.Addr("lan", host4+"/24")
	s.lan.Addr("host", peer4+"/24")
	s.host.Route("default", peer4)
	s.host.SetSysctl("ipv4/ip_forward", "0")
	s.host.SetSysctl("ipv6/conf/all/forwarding", "0")
	s.wires = wire.Host{RunRoot: t.TempDir(), Network: func(id string) (netd.Network, error) {
		for _, n := range s.networks {
			if n.ID == id {
				return n, nil
			}
		}
		return netd.Network{}, fmt.Errorf("network %s: %w", id, spec.ErrNotFound)
	}}
	return s
}

func needNft(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err == nil {
		return
	}
	if os.Getenv("CLEAT_TEST_ROOT") == "1" {
		t.Fatal("needs nft (Debian package nftables)")
	}
	t.Skip("needs nft (Debian package nftables)")
}

func (s *site) network(req netd.Request) *netd.Network {
	s.t.Helper()
	req.ID = strings.Repeat(string("abcdef"[len(s.networks)]), 64)
	n, err := netd.Plan(req, netd.Surroundings{Networks: s.networks})
	if err != nil {
		s.t.Fatal(err)
	}
	s.networks = append(s.networks, n)
	return &s.networks[len(s.networks)-1]
}

// onHost runs f on a thread of its own in the host's namespace, so that several
// can run at a time.
func (s *site) onHost(f func(context.Context) error) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Setns(s.host.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = f(s.t.Context())
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Error(err)
	}
}

func ports(t *testing.T, specs ...string) []netd.Port {
	t.Helper()
	var all []netd.Port
	for _, p := range specs {
		more, err := netd.ParsePorts(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, more...)
	}
	return all
}

// start runs a container the way its start helper does.
func (s *site) start(n *netd.Network, name string, published ...string) *nstest.NS {
	s.t.Helper()
	box := nstest.New(s.t, name)
	box.Echo("tcp", ":80")
	s.plug(box, n, idOf(name), published...)
	return box
}

func idOf(name string) string {
	id := fmt.Sprintf("%x", name)
	return id + strings.Repeat("0", 64-len(id))
}

func (s *site) plug(box *nstest.NS, n *netd.Network, id string, published ...string) {
	s.t.Helper()
	w := netd.Wiring{
		Table: table, Ports: ports(s.t, published...),
		Connections: []netd.Connection{{NetworkID: n.ID, Attachment: netd.Attachment{DefaultRoute: true}}},
	}
	s.onHost(func(ctx context.Context) error {
		l, err := s.wires.Prepare(ctx, w, id, cgroup)
		if err != nil {
			return err
		}
		return s.wires.Plug(ctx, l, box.FD())
	})
}

func (s *site) restore() {
	s.t.Helper()
	s.onHost(func(ctx context.Context) error { return s.wires.Restore(ctx, table) })
}

// inspect returns what is found wrong, with every container through its start.
func (s *site) inspect() string {
	s.t.Helper()
	var found []wire.Problem
	s.onHost(func(ctx context.Context) (err error) {
		found, err = s.wires.Inspect(ctx, table, func() ([]netd.Network, error) { return s.networks, nil }, func(string) bool { return true })
		return err
	})
	return strings.Trim(fmt.Sprint(found), "[]")
}

func (s *site) asks(what, addr, want string) {
	s.t.Helper()
	ask := s.lan.Ask
	if want == "" {
		ask = s.lan.AskInVain
	}
	if got := ask("tcp", addr); got != want {
		s.t.Errorf("%s: %s answers %q, want %q", what, addr, got, want)
	}
}

// The published ports of what runs are there again, and those on 127.0.0.1 are
// open to nobody at no time (CVE-2025-54388), as are internal networks
// (CVE-2025-54410).
func TestRestore(t *testing.T) {
	needNft(t)
	s := newSite(t)
	n, inside := s.network(netd.Request{Name: "bridge"}), s.network(netd.Request{Name: "inside", Internal: true})
	s.start(n, "web", "8080:80", "127.0.0.1:8081:80")
	s.start(inside, "secret", "8082:80")
	s.lan.Route("172.16.0.0/12", host4)
	open := func(when, web string) {
		t.Helper()
		s.asks(when, host4+":8080", web)
		s.asks(when+", on 127.0.0.1", host4+":8081", "")
		s.asks(when+", internal", host4+":8082", "")
	}
	open("before", "web "+peer4)
	for what, harm := range map[string]func(){
		"flushed":        func() { s.host.Run("nft", "flush", "ruleset") },
		"table deleted":  func() { s.host.Run("nft", "delete", "table", "inet", table) },
		"rules replaced": func() { s.host.Run("nft", "flush table inet "+table) },
		"bridge removed": func() { s.host.Run("ip", "link", "del", n.Device) },
		"forwarding off": func() { s.host.SetSysctl("ipv4/ip_forward", "0") },
	} {
		harm()
		open(what, "")
		if s.inspect() == "" {
			t.Errorf("%s: nothing is found", what)
		}
		s.restore()
		if found := s.inspect(); found != "" {
			t.Errorf("%s: after restoring: %s", what, found)
		}
		open(what+" and restored", "web "+peer4)
		for _, from := range []string{"172.17.0.2:80", "172.18.0.2:80"} {
			s.asks(what+" and restored, by a route", from, "")
		}
	}
}

// Nothing announces a flush. Whoever starts next notices.
func TestTheNextStartRestoresEverything(t *testing.T) {
	needNft(t)
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	s.start(n, "web", "8080:80")
	s.host.Run("nft", "flush", "ruleset")
	s.asks("flushed", host4+":8080", "")
	s.start(n, "next", "8081:80")
	s.asks("restored", host4+":8080", "web "+peer4)
	s.asks("started", host4+":8081", "next "+peer4)
	if found := s.inspect(); found != "" {
		t.Error(found)
	}
}

// Where there is nothing to protect, Restore makes nothing; where cleat has made
// the host forward packets, it keeps it from being a router.
func TestRestoreWithoutContainers(t *testing.T) {
	needNft(t)
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	s.restore()
	if text := s.host.Run("nft", "list", "tables"); text != "" {
		t.Errorf("tables:\n%s", text)
	}
	s.start(n, "web")
	s.onHost(func(ctx context.Context) error { return s.wires.Release(ctx, idOf("web"), wire.KeepNothing) })
	s.host.Run("nft", "flush", "ruleset")
	s.restore()
	if text := s.host.Run("nft", "list", "set", "inet", table, "unrouted"); !strings.Contains(text, "ipv4") {
		t.Error(text)
	}
	if found := s.inspect(); found != "" {
		t.Error(found)
	}
}

// A network that cannot be read does not keep the others.
func TestRestoreGoesOnAfterTrouble(t *testing.T) {
	needNft(t)
	s := newSite(t)
	s.start(s.network(netd.Request{Name: "bridge"}), "web", "8080:80")
	s.start(s.network(netd.Request{Name: "bad"}), "other", "8081:80")
	s.host.Run("nft", "flush", "ruleset")
	load := s.wires.Network
	s.wires.Network = func(id string) (netd.Network, error) {
		if id == s.networks[1].ID {
			return netd.Network{}, os.ErrPermission
		}
		return load(id)
	}
	s.host.Do(func() {
		if err := s.wires.Restore(t.Context(), table); err == nil || !strings.Contains(err.Error(), "network bbbbbbbbbbbb: permission denied") {
			t.Errorf("the trouble is not reported: %v", err)
		}
	})
	s.asks("restored", host4+":8080", "web "+peer4)
}

// Starts, ends and restorations at a time end with exactly the ports of what
// runs.
func TestStartsEndsAndRestorations(t *testing.T) {
	const many = 8
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	var wg sync.WaitGroup
	for i := range many {
		box := nstest.New(t, "box")
		id := idOf(fmt.Sprint("box", i))
		wg.Go(func() {
			for round := range 4 {
				s.plug(box, n, id, fmt.Sprint(8000+i, ":80"))
				if round < 3 || i%2 == 1 {
					s.onHost(func(ctx context.Context) error { return s.wires.Release(ctx, id, wire.KeepAddresses) })
				}
			}
		})
		wg.Go(func() {
			for range 4 {
				s.onHost(func(ctx context.Context) error {
					if i%4 == 0 { // as "nft flush ruleset" does
						if err := nft.New(table).CleanUp(); err != nil {
							return err
						}
					}
					return s.wires.Restore(ctx, table)
				})
			}
		})
	}
	wg.Wait()
	lives, err := s.wires.Lives().All()
	if err != nil || len(lives) != many/2 {
		t.Errorf("%d containers run: %v", len(lives), err)
	}
	s.restoreIfFlushed()
	if found := s.inspect(); found != "" {
		t.Error(found)
	}
}

// restoreIfFlushed does what a start does, if the last thing that happened was a
// flush that nobody has noticed.
func (s *site) restoreIfFlushed() {
	s.t.Helper()
	if strings.Contains(s.inspect(), "is missing") {
		s.restore()
	}
}

// What ended without a word is given back, and what it had published is closed.
func TestSweep(t *testing.T) {
	s := newSite(t)
	n := s.network(netd.Request{Name: "bridge"})
	s.start(n, "web", "8080:80")
	s.start(n, "lost", "8081:80")
	l, err := s.wires.Lives().Load(idOf("lost"))
	if err != nil {
		t.Fatal(err)
	}
	l.Cgroup = "no/such.service"
	if err := s.wires.Lives().Save(l); err != nil {
		t.Fatal(err)
	}
	if found := s.inspect(); !strings.Contains(found, "stale port 8081:80/tcp") {
		t.Errorf("found %q", found)
	}
	s.onHost(func(ctx context.Context) error {
		swept, err := s.wires.Sweep(ctx)
		if len(swept) != 1 || swept[0] != idOf("lost") {
			t.Errorf("swept %v", swept)
		}
		return err
	})
	if found := s.inspect(); found != "" {
		t.Error(found)
	}
	leases, err := s.wires.Leases().Of(n.ID)
	if err != nil || len(leases) != 1 || leases[0].Owner.ContainerID != idOf("web") {
		t.Errorf("leases %v, %v", leases, err)
	}
	s.asks("still there", host4+":8080", "web "+peer4)
}
