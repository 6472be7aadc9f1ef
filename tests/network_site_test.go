package tests

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cleat-project/cleat/internal/nstest"
)

// The addresses of the cable between a host and its neighbour on the LAN.
const (
	hostLAN4, peerLAN4 = "10.9.0.1", "10.9.0.2"
	hostLAN6, peerLAN6 = "fd09::1", "fd09::2"
)

// netSite is an embedded host with a network of its own, and a neighbour on its
// LAN: nothing of the machine's own network is touched.
type netSite struct {
	site
	host *nstest.NS // the host's network namespace
	lan  *nstest.NS // the neighbour's
}

// newNetSite starts such a host with the images busybox and peer.
func newNetSite(t *testing.T) netSite {
	t.Helper()
	s := netSite{site: newSite(t, "--private-network")}
	s.importImage(t, "busybox")
	s.importPeer(t)
	s.host, s.lan = nstest.Of(t, "host", s.hostPID(t)), nstest.New(t, "lan")
	nstest.Link(s.host, s.lan)
	s.host.Addr("lan", hostLAN4+"/24", hostLAN6+"/64")
	s.lan.Addr("host", peerLAN4+"/24", peerLAN6+"/64")
	s.host.Route("default", peerLAN4)
	return s
}

// hostPID returns the process id of the host's systemd.
func (s site) hostPID(t testing.TB) int {
	t.Helper()
	for line := range strings.Lines(s.must(t, "host", "status")) {
		if text, ok := strings.CutPrefix(line, "PID:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("host status tells no PID")
	return 0
}

// peerProgram builds tests/peer once and returns the program.
var peerProgram = sync.OnceValues(func() ([]byte, error) {
	path := filepath.Join(env.root, "peer")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./peer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build peer: %w: %s", err, out)
	}
	return os.ReadFile(path)
})

// importPeer makes the image "peer" of the program alone. It exposes port 80.
func (s site) importPeer(t testing.TB) {
	t.Helper()
	program, err := peerProgram()
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	err = tw.WriteHeader(&tar.Header{Name: "peer", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg})
	_, werr := tw.Write(program)
	if err := errors.Join(err, werr, tw.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd("import", "-c", `ENTRYPOINT ["/peer"]`, "-c", `CMD ["serve", "tcp::80", "udp::80"]`, "-c", "EXPOSE 80", "-c", "EXPOSE 80/udp", "-", "peer")
	cmd.Stdin = &layer
	if r := finish(cmd); r.code != 0 {
		t.Fatalf("import: %v", r)
	}
}

// serve starts a peer that answers on port 80, called name also as a host, and
// waits until it listens.
func (s netSite) serve(t testing.TB, name string, args ...string) {
	t.Helper()
	t.Cleanup(func() { s.try("rm", "-f", "-v", name) })
	s.must(t, append(append([]string{"run", "-d", "--name", name, "--hostname", name}, args...), "peer")...)
	s.listening(t, name)
}

func (s netSite) listening(t testing.TB, name string) {
	t.Helper()
	until(t, name+" listens", func() bool { return strings.HasSuffix(s.try("logs", name).out, "ready") })
}

// address returns a container's address on a network.
func (s netSite) address(t testing.TB, name, network string, six bool) string {
	t.Helper()
	field := "IPAddress"
	if six {
		field = "GlobalIPv6Address"
	}
	return s.inspect(t, name, fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).%s}}`, network, field))
}

// asker is somebody who can call a peer: a namespace, or a container.
type asker func(network, addr string) (string, error)

// from returns the asker in a namespace.
func from(t testing.TB, ns *nstest.NS) asker {
	t.Helper()
	if _, err := peerProgram(); err != nil {
		t.Fatal(err)
	}
	return func(network, addr string) (string, error) {
		out, err := ns.Try(filepath.Join(env.root, "peer"), "ask", network, addr)
		return strings.TrimSpace(out), err
	}
}

// in returns the asker in a container that has the peer program.
func (s netSite) in(name string) asker {
	return func(network, addr string) (string, error) {
		r := s.try("exec", name, "/peer", "ask", network, addr)
		if r.code != 0 {
			return r.stderr, errors.New(r.stderr)
		}
		return r.out, nil
	}
}

// hears fails the test unless addr answers with want.
func (a asker) hears(t testing.TB, network, addr, want string) {
	t.Helper()
	if got, err := a(network, addr); err != nil || got != want {
		t.Errorf("%s %s answers %q, %v, want %q", network, addr, got, err, want)
	}
}

// hearsNothing fails the test if anybody answers at addr.
func (a asker) hearsNothing(t testing.TB, network, addr string) {
	t.Helper()
	if got, err := a(network, addr); err == nil {
		t.Errorf("%s %s answers %q, want nobody there", network, addr, got)
	}
}
