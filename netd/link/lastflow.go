package link

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
)

// LastFlow returns when the latest packet to or from one of a container's published
// ports was seen, at one of its addresses, the zero time if none is remembered. The
// kernel remembers the end of a connection for some seconds to minutes; of TCP
// connections that are open it is not asked. For UDP the answer may be too late, by
// some minutes, never too early.
func LastFlow(addrs []netip.Addr, ports []netd.Port) (time.Time, error) {
	var last time.Time
	limits := map[string]time.Duration{}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return last, fmt.Errorf("list connections: %w", err)
		}
		for _, f := range flows {
			if !of(f, addrs, ports) || isOpen(f) {
				continue
			}
			if at := lastPacket(f, limits); at.After(last) {
				last = at
			}
		}
	}
	return last, nil
}

// of reports whether a flow is to one of the ports at one of the addresses.
func of(f *netlink.ConntrackFlow, addrs []netip.Addr, ports []netd.Port) bool {
	if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.IsValid() && f.Reverse.SrcIP.Equal(net.IP(a.AsSlice())) }) {
		return false
	}
	return slices.ContainsFunc(ports, func(p netd.Port) bool {
		return p.Proto.Number() == f.Reverse.Protocol && p.ContainerPort == f.Reverse.SrcPort
	})
}

// tcpEstablished is TCP_CONNTRACK_ESTABLISHED of linux/netfilter/nf_conntrack_tcp.h.
const tcpEstablished = 3

// tcpLimits are the kernel's settings of how long it remembers connections, by
// state.
var tcpLimits = [...]string{
	1: "syn_sent", 2: "syn_recv", tcpEstablished: "established", 4: "fin_wait", 5: "close_wait", 6: "last_ack", 7: "time_wait", 8: "close", 9: "syn_sent",
}

func isOpen(f *netlink.ConntrackFlow) bool {
	tcp, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP)
	return ok && tcp.State == tcpEstablished
}

// lastPacket concludes from the time that a flow is still remembered when its last
// packet was. What it cannot tell counts as just now.
func lastPacket(f *netlink.ConntrackFlow, limits map[string]time.Duration) time.Time {
	left := time.Duration(f.TimeOut) * time.Second
	limit := left
	switch tcp, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP); {
	case ok && int(tcp.State) < len(tcpLimits) && tcpLimits[tcp.State] != "":
		limit = conntrackLimit("tcp_timeout_"+tcpLimits[tcp.State], limits)
	case f.Reverse.Protocol == unix.IPPROTO_UDP:
		if limit = conntrackLimit("udp_timeout", limits); left > limit { // remembered longer once there were answers for a while
			limit = conntrackLimit("udp_timeout_stream", limits)
		}
	}
	return time.Now().Add(-max(limit-left, 0))
}

// conntrackLimit returns a setting, 0 if it cannot be read, from known if it has been
// read before.
func conntrackLimit(name string, known map[string]time.Duration) time.Duration {
	if d, ok := known[name]; ok {
		return d
	}
	text, err := os.ReadFile(filepath.Join(sysctls, "netfilter/nf_conntrack_"+name))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	known[name] = time.Duration(n) * time.Second
	return known[name]
}
