package tests

import (
	"strings"
	"testing"
)

// TestNothingListens shows that nothing of cleat's can be reached through a
// network: no server on a port (CVE-2025-9074), and none on an abstract socket,
// which everybody in the host's network namespace could call (CVE-2020-15257).
func TestNothingListens(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "named") // with the name server
	s.serve(t, "web", "-p", "8080:80", "-p", "8080:80/udp", "--network", "named")
	const listing = "cat /proc/net/tcp /proc/net/tcp6; echo --; cat /proc/net/udp /proc/net/udp6; echo --; cat /proc/net/unix"
	parts := strings.Split(s.must(t, "run", "--rm", "--network", "host", "busybox", "sh", "-c", listing), "--\n")
	if len(parts) != 3 {
		t.Fatalf("listing: %q", parts)
	}
	const listen, unconnected, port = "0A", "07", "1F90" // 8080, which was published
	if got := ports(parts[0], listen); got != port {
		t.Errorf("TCP ports %s", got)
	}
	if got := ports(parts[1], unconnected); got != port {
		t.Errorf("UDP ports %s", got)
	}
	paths := 0
	for line := range strings.Lines(parts[2]) {
		f := strings.Fields(line)
		if len(f) < 8 || f[3] != "00010000" { // __SO_ACCEPTCON
			continue
		}
		if strings.HasPrefix(f[7], "@") {
			t.Errorf("an abstract socket listens: %s", line)
		}
		paths++
	}
	if paths == 0 {
		t.Errorf("not even systemd listens:\n%s", parts[2])
	}
	s.must(t, "rm", "-f", "web")
	s.must(t, "network", "rm", "named")
}

// ports returns the different ports, in hexadecimal, of the sockets in a state.
func ports(table, state string) string {
	var found []string
	seen := map[string]bool{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != state {
			continue
		}
		_, p, _ := strings.Cut(f[1], ":")
		if !seen[p] {
			seen[p] = true
			found = append(found, p)
		}
	}
	return strings.Join(found, " ")
}
