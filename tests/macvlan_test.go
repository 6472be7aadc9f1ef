package tests

import (
	"strings"
	"testing"
)

// TestMacvlan shows containers that are on the host's LAN themselves.
func TestMacvlan(t *testing.T) {
	s := newNetSite(t)
	s.must(t, "network", "create", "-d", "macvlan", "--subnet", "10.9.0.0/24", "--gateway", peerLAN4, "--ip-range", "10.9.0.64/26", "-o", "parent=lan", "direct")
	if got := s.must(t, "network", "inspect", "-f", "{{.Driver}} {{.Options.parent}}", "direct"); got != "macvlan lan" {
		t.Errorf("inspect: %q", got)
	}
	s.serve(t, "web", "--network", "direct")
	s.serve(t, "other", "--network", "direct", "--ip", "10.9.0.70")
	web := s.address(t, "web", "direct", false)
	if !strings.HasPrefix(web, "10.9.0.") || s.address(t, "other", "direct", false) != "10.9.0.70" {
		t.Errorf("addresses %s and %s", web, s.address(t, "other", "direct", false))
	}
	s.lan.Echo("tcp", ":7000")
	from(t, s.lan).hears(t, "tcp", web+":80", "web "+peerLAN4)
	s.in("web").hears(t, "tcp", peerLAN4+":7000", "lan "+web)
	s.in("web").hears(t, "tcp", "other:80", "other "+web)
	t.Run("while it runs", func(t *testing.T) {
		s.serve(t, "late", "-p", "8080:80")
		s.must(t, "network", "connect", "--ip", "10.9.0.71", "direct", "late")
		from(t, s.lan).hears(t, "tcp", "10.9.0.71:80", "late "+peerLAN4)
		// Who is on that LAN is answered there, so only others can use the port.
		from(t, s.host).hears(t, "tcp", "127.0.0.1:8080", "late "+s.gateway(t, "bridge", 0))
		s.must(t, "network", "disconnect", "direct", "late")
		from(t, s.lan).hearsNothing(t, "tcp", "10.9.0.71:80")
		s.must(t, "rm", "-f", "late")
	})
	s.must(t, "system", "check")
	for want, args := range map[string][]string{
		"ports cannot be published by way of network \"direct\"": {"run", "--rm", "--network", "direct", "-p", "8080:80", "busybox", "true"},
		"give -o parent=DEVICE":                                  {"network", "create", "-d", "macvlan", "--subnet", "10.10.0.0/24", "bad"},
		"give that one's --subnet":                               {"network", "create", "-d", "macvlan", "-o", "parent=other", "bad"},
		"driver ipvlan is not supported":                         {"network", "create", "-d", "ipvlan", "bad"},
	} {
		r := s.try(args...)
		if r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: %v, want %q", args, r, want)
		}
		plain(t, r.stderr)
	}
	s.must(t, "rm", "-f", "web", "other")
	s.must(t, "network", "rm", "direct")
	s.must(t, "system", "check")
}
