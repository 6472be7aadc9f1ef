package tests

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// routes returns the devices of a container's default routes, IPv4 first.
func (s site) routes(t testing.TB, name string) string {
	t.Helper()
	var devices []string
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(s.must(t, "exec", name, "ip", family, "route")) {
			if f := strings.Fields(line); len(f) > 4 && f[0] == "default" {
				devices = append(devices, f[4])
			}
		}
	}
	return strings.Join(devices, " ")
}

// devices returns the names of a container's devices.
func (s site) devices(t testing.TB, name string) string {
	t.Helper()
	return strings.Join(strings.Fields(s.must(t, "exec", name, "ls", "/sys/class/net")), " ")
}

// TestConnectLive takes a running container from network to network.
func TestConnectLive(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	s.must(t, "network", "create", "--ipv6", "--subnet", "198.18.70.0/24", "--subnet", "fd70::/64", "mid")
	s.must(t, "network", "create", "--subnet", "198.18.71.0/24", "aaa")
	s.must(t, "network", "create", "--internal", "--subnet", "198.18.72.0/24", "inner")
	s.serve(t, "web", "-p", "8080:80")
	s.must(t, "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	ask := from(t, s.lan)
	reached := func(when string) {
		t.Helper()
		if got, err := ask("tcp", hostLAN4+":8080"); err != nil || !strings.Contains(got, "web") {
			t.Errorf("%s: port 8080: %q, %v", when, got, err)
		}
	}
	reached("on the default network")

	// One more network, whose gateway comes after the default network's by name.
	s.must(t, "network", "connect", "--alias", "Shop", "--ip", "198.18.70.9", "--ip6", "fd70::9", "mid", "web")
	s.must(t, "network", "connect", "mid", "box")
	if got := s.devices(t, "box"); got != "eth0 eth1 lo" {
		t.Errorf("devices: %s", got)
	}
	if got := s.routes(t, "box"); got != "eth0 eth0" {
		t.Errorf("default routes: %s", got)
	}
	for _, name := range []string{"web", "shop", "SHOP"} {
		if r := s.try("exec", "box", "ping", "-c1", "-W5", name); r.code != 0 || !strings.Contains(r.out, "70") {
			t.Errorf("ping %s: %v", name, r)
		}
	}
	if got := s.must(t, "exec", "box", "cat", "/etc/resolv.conf"); !strings.Contains(got, "nameserver 127.0.0.11") {
		t.Errorf("resolv.conf: %s", got)
	}
	if got := s.inspect(t, "web", `{{.NetworkSettings.Networks.mid.IPAddress}} {{.NetworkSettings.Networks.mid.GlobalIPv6Address}}`); got != "198.18.70.9 fd70::9" {
		t.Errorf("inspect: %s", got)
	}
	if r := s.try("network", "connect", "--ip", "198.18.70.9", "mid", "nosuch"); r.code != 1 {
		t.Errorf("no such container: %v", r)
	}
	reached("on two networks")

	// The next comes first by name, so the way to the world and the port move.
	s.must(t, "network", "connect", "aaa", "web")
	s.must(t, "network", "connect", "aaa", "box")
	if got := s.routes(t, "box"); got != "eth2" {
		t.Errorf("default routes: %s", got)
	}
	reached("by another gateway")
	s.must(t, "network", "disconnect", "bridge", "web")
	reached("without the default network")
	s.must(t, "network", "disconnect", "aaa", "web")
	reached("on the last network")
	if r := s.try("network", "rm", "mid"); r.code != 1 || !strings.Contains(r.stderr, "network mid has active endpoints: box, web") {
		t.Errorf("rm in use: %v", r)
	}

	// An internal network alone: no way out, none in.
	s.must(t, "network", "connect", "inner", "web")
	s.must(t, "network", "disconnect", "mid", "web")
	if got, err := ask("tcp", hostLAN4+":8080"); err == nil {
		t.Errorf("reached on an internal network: %q", got)
	}
	s.must(t, "network", "connect", "--ip", "198.18.70.77", "mid", "web")
	reached("back again")

	hosts := s.must(t, "exec", "box", "cat", "/etc/hosts")
	s.must(t, "network", "disconnect", "aaa", "box")
	s.must(t, "network", "disconnect", "mid", "box")
	if got := s.routes(t, "box"); got != "eth0 eth0" {
		t.Errorf("default routes at last: %s", got)
	}
	if got := s.must(t, "exec", "box", "cat", "/etc/hosts"); len(got) >= len(hosts) || strings.Contains(got, "198.18.7") {
		t.Errorf("hosts: %s", got)
	}
	if got := s.must(t, "exec", "box", "cat", "/etc/resolv.conf"); strings.Contains(got, "127.0.0.11") {
		t.Errorf("resolv.conf without a name server: %s", got)
	}

	// What was changed lasts over a restart, the chosen address included.
	s.must(t, "restart", "-t", "0", "web", "box")
	s.listening(t, "web")
	if got := s.devices(t, "box"); got != "eth0 lo" {
		t.Errorf("devices after a restart: %s", got)
	}
	if got := s.address(t, "web", "mid", false); got != "198.18.70.77" {
		t.Errorf("address after a restart: %s", got)
	}
	reached("after a restart")
	s.must(t, "rm", "-f", "web", "box")
	s.must(t, "network", "rm", "mid", "aaa", "inner")
	s.clean(t)
}

// TestConnectRefusals shows that what cannot be leaves nothing behind.
func TestConnectRefusals(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	s.must(t, "network", "create", "--subnet", "198.18.80.0/29", "tiny")
	s.must(t, "network", "create", "web")
	s.must(t, "run", "-d", "--name", "first", "--network", "tiny", "--ip", "198.18.80.2", "-p", "8080:80", "busybox", "sleep", "1000")
	s.must(t, "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"address in use":          {[]string{"network", "connect", "--ip", "198.18.80.2", "tiny", "box"}, 1, "address 198.18.80.2 is in use by container"},
		"address in use at run":   {[]string{"run", "--rm", "--network", "tiny", "--ip", "198.18.80.2", "busybox", "true"}, 125, "address 198.18.80.2 is in use by container"},
		"port in use":             {[]string{"run", "--rm", "-p", "8080:81", "busybox", "true"}, 125, "8080.*already allocated.*first"},
		"already connected":       {[]string{"network", "connect", "tiny", "first"}, 1, `"first" is on network "tiny" already`},
		"not connected":           {[]string{"network", "disconnect", "web", "first"}, 1, `"first" is not connected to network web`},
		"no such network":         {[]string{"run", "--rm", "--network", "nosuch", "busybox", "true"}, 125, `network "nosuch" not found`},
		"outside":                 {[]string{"network", "connect", "--ip", "10.0.0.1", "tiny", "box"}, 1, "not within subnet"},
		"IPv6 on an IPv4 network": {[]string{"network", "connect", "--ip6", "fd00::1", "tiny", "box"}, 1, "has no IPv6"},
		"overlap":                 {[]string{"network", "create", "--subnet", "198.18.80.0/24", "other"}, 1, "overlaps 198.18.80.0/29"},
		"in use":                  {[]string{"network", "rm", "tiny"}, 1, "has active endpoints: first"},
	}
	for name, tt := range tests {
		r := s.try(tt.args...)
		if r.code != tt.code || !regexp.MustCompile(tt.says).MatchString(r.stderr) {
			t.Errorf("%s: %v", name, r)
		}
		plain(t, r.stderr)
	}
	if got := s.devices(t, "box"); got != "eth0 lo" {
		t.Errorf("devices: %s", got)
	}
	// Of six addresses one is the gateway's and one is taken.
	for i := range 4 {
		s.must(t, "run", "-d", "--name", fmt.Sprintf("c%d", i), "--network", "tiny", "busybox", "sleep", "1000")
	}
	if r := s.try("network", "connect", "tiny", "box"); r.code != 1 || !strings.Contains(r.stderr, "no free address left") {
		t.Errorf("the network is full: %v", r)
	}
	s.must(t, "rm", "-f", "c0")
	s.must(t, "network", "connect", "tiny", "box")
	if got := s.devices(t, "box"); got != "eth0 eth1 lo" {
		t.Errorf("devices: %s", got)
	}
	s.clean(t)
}

// TestKilledConnect kills connect and disconnect at all sorts of moments: the next
// command that touches the container completes them.
func TestKilledConnect(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	s.must(t, "network", "create", "web")
	s.must(t, "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	for i := range 30 {
		verb := []string{"connect", "disconnect"}[i%2]
		cmd := s.cmd("network", verb, "web", "box")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(i)*2*time.Millisecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or done
		timer.Stop()
		again := s.try("network", verb, "web", "box")
		done := strings.Contains(again.stderr, "already") || strings.Contains(again.stderr, "is not connected")
		if again.code != 0 && !done {
			t.Fatalf("%s after a kill: %v", verb, again)
		}
		want, listed := "eth0 eth1 lo", 1
		if verb == "disconnect" {
			want, listed = "eth0 lo", 0
		}
		if got := s.devices(t, "box"); got != want {
			t.Fatalf("turn %d, %s: devices %s", i, verb, got)
		}
		if got := s.must(t, "network", "inspect", "-f", "{{len .Containers}}", "web"); got != fmt.Sprint(listed) {
			t.Fatalf("turn %d, %s: %s containers listed", i, verb, got)
		}
	}
	s.must(t, "system", "check", "--repair") // half-written files
	s.clean(t)
	s.must(t, "network", "rm", "web")
}

// TestConnectBootService connects a container that comes back at boot: its unit
// file has to know of the name server, and the port that was chosen for it stays.
func TestConnectBootService(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	s.must(t, "network", "create", "web")
	s.must(t, "run", "-d", "--restart", "always", "--name", "box", "-p", "80", "busybox", "sleep", "1000")
	port := s.must(t, "port", "box", "80/tcp")
	s.must(t, "network", "connect", "web", "box")
	if got := s.systemctl(t, "cat", "cleat-box.service"); !strings.Contains(got, "cleat-netd.socket") {
		t.Errorf("the unit file does not ask for the name server:\n%s", got)
	}
	killed := s.inspect(t, "box", "{{.State.Pid}}")
	s.systemctl(t, "kill", "-s", "KILL", "cleat-box.service")
	until(t, "it runs again", func() bool {
		pid := s.inspect(t, "box", "{{.State.Pid}} {{.State.Running}}")
		return strings.HasSuffix(pid, " true") && pid != killed+" true" && !strings.HasPrefix(pid, "0 ")
	})
	if got := s.devices(t, "box"); got != "eth0 eth1 lo" {
		t.Errorf("devices after a restart: %s", got)
	}
	if got := s.must(t, "port", "box", "80/tcp"); got != port {
		t.Errorf("port %s, before it was %s", got, port)
	}
	s.must(t, "network", "disconnect", "web", "box")
	s.must(t, "network", "disconnect", "bridge", "box")
	if got := s.systemctl(t, "cat", "cleat-box.service"); strings.Contains(got, "cleat-netd.socket") {
		t.Errorf("the unit file still asks for the name server:\n%s", got)
	}
	s.must(t, "rm", "-f", "box")
	if got := s.try("host", "shell", "systemctl", "list-unit-files", "--no-legend", "cleat-box.*").out; got != "" {
		t.Errorf("left: %s", got)
	}
	s.clean(t)
}

// TestRemovalsAndStartsAtATime removes a network while a container starts on it: at
// most one of both may succeed.
func TestRemovalsAndStartsAtATime(t *testing.T) {
	t.Parallel()
	s := newNetSite(t)
	started, removed := 0, 0
	for i := range 20 {
		s.must(t, "network", "create", "web")
		s.must(t, "create", "--name", "box", "--network", "web", "busybox", "sleep", "1000")
		start := make(chan result, 1)
		go func() { start <- s.try("start", "box") }()
		time.Sleep(time.Duration(i) * 4 * time.Millisecond) // so that they meet at different moments
		rm, st := s.try("network", "rm", "web"), <-start
		there := s.try("network", "inspect", "web").code == 0
		switch {
		case rm.code == 0 && st.code == 0:
			t.Fatalf("both: %v, %v", rm, st)
		case (rm.code == 0) == there:
			t.Fatalf("the network is there: %v, %v", there, rm)
		case st.code == 0:
			started++
			if got := s.devices(t, "box"); got != "eth0 lo" {
				t.Errorf("devices: %s", got)
			}
		case rm.code == 0:
			removed++
		}
		plain(t, rm.stderr+st.stderr)
		s.must(t, "rm", "-f", "box")
		if there {
			s.must(t, "network", "rm", "web")
		}
	}
	t.Logf("of 20, %d started and %d were removed", started, removed)
	s.clean(t)
}
