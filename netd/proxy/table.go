package proxy

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/netd"
)

// socketAt is a line of /proc/<pid>/net/tcp and its kin, see proc_pid_net(5).
type socketAt struct {
	remote string // address, in the kernel's digits
	state  string // two digits
}

// socketsAt returns the sockets that are bound to a port in the network of process
// pid. Of one that has ended there are none.
func socketsAt(pid int, proto string, port uint16) []socketAt {
	var found []socketAt
	for _, table := range []string{proto, proto + "6"} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/" + table)
		if err == nil {
			found = append(found, parseSockets(string(text), port)...)
		}
	}
	return found
}

func parseSockets(table string, port uint16) []socketAt {
	suffix := fmt.Sprintf(":%04X", port)
	var found []socketAt
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasSuffix(f[1], suffix) {
			continue
		}
		remote, _, _ := strings.Cut(f[2], ":")
		found = append(found, socketAt{remote, f[3]})
	}
	return found
}

// openStates are those of TCP connections over which something may come yet:
// established, half made, and half closed by either side. See tcp_states.h.
var openStates = []string{"01", "03", "04", "05", "08"}

// isOpen reports whether s is an open TCP connection with somebody outside of its
// network namespace.
func (s socketAt) isOpen() bool {
	own := strings.HasSuffix(s.remote, "7F") && (len(s.remote) == 8 || strings.HasPrefix(s.remote, mapped)) || s.remote == loopback6
	return !own && slices.Contains(openStates, s.state)
}

// In the kernel's digits, which are those of 32-bit words in the machine's order,
// here that of almost all: ::1, and what IPv4 addresses in IPv6 begin with.
const (
	loopback6 = "00000000000000000000000001000000"
	mapped    = "0000000000000000FFFF0000"
)

// HasConnections reports whether a TCP connection is open to one of the published
// ports of a container of which pid is a process, from outside of it.
func HasConnections(pid int, ports []netd.Port) bool {
	return slices.ContainsFunc(ports, func(p netd.Port) bool {
		return p.Proto == netd.TCP && slices.ContainsFunc(socketsAt(pid, "tcp", p.ContainerPort), socketAt.isOpen)
	})
}
