package serve

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// The host's own name servers: in the first file, unless that names nothing but
// the stub of systemd-resolved; then in the second.
const (
	resolvConf     = "/etc/resolv.conf"
	resolvedServer = "/run/systemd/resolve/resolv.conf"
)

// maxUpstreams is how many name servers a resolver asks: MAXNS of resolv.conf(5).
const maxUpstreams = 3

// upstreams are the host's name servers.
type upstreams struct {
	files []string // of which the first that has more than a stub counts

	mu      sync.Mutex
	read    []version // of the files that were looked at
	servers []netip.AddrPort
}

// list returns the name servers as the files have them now.
func (u *upstreams) list() []netip.AddrPort {
	asked := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, v := range u.read {
		if !v.current(stampOf(u.files[i]), asked) {
			u.read = nil
			break
		}
	}
	if u.read == nil {
		u.load()
	}
	return u.servers
}

// load reads the files. A host that names no server asks itself; so does one of
// which all files name the stub, which answers where this program runs.
func (u *upstreams) load() {
	u.read, u.servers = nil, nil
	var stub []netip.AddrPort
	for _, path := range u.files {
		u.read = append(u.read, version{stampOf(path), time.Now()})
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it need not be there
		}
		servers := nameServers(data)
		if !onlyStub(servers) {
			u.servers = servers
			return
		}
		if stub == nil {
			stub = servers
		}
	}
	if u.servers = stub; len(stub) == 0 {
		u.servers = []netip.AddrPort{dnsAt(netip.AddrFrom4([4]byte{127, 0, 0, 1}))}
	}
}

// nameServers reads a resolv.conf(5).
func nameServers(data []byte) []netip.AddrPort {
	var all []netip.AddrPort
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(all) < maxUpstreams; {
		f := strings.Fields(s.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			all = append(all, dnsAt(a))
		}
	}
	return all
}

// onlyStub reports whether there is no server but those that systemd-resolved
// has on the loopback device.
func onlyStub(servers []netip.AddrPort) bool {
	for _, s := range servers {
		if a := s.Addr(); a != netip.AddrFrom4([4]byte{127, 0, 0, 53}) && a != netip.AddrFrom4([4]byte{127, 0, 0, 54}) {
			return false
		}
	}
	return true
}

// dnsAt returns the port of DNS at a.
func dnsAt(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 53) }
