package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nftablesUnit is what Debian's nftables.service does, with the configuration in
// its place.
const nftablesUnit = `[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f CONF
ExecReload=nft -f CONF
ExecStop=nft flush ruleset
`

// TestFirewallReload shows that containers keep their ports and their protection
// whatever is done to the machine's firewall (CVE-2025-54388).
func TestFirewallReload(t *testing.T) {
	s := newNetSite(t)
	s.serve(t, "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80")
	lan := from(t, s.lan)
	table := s.table(t)
	s.installFirewall(t)

	protected := func(t *testing.T) {
		t.Helper()
		lan.hears(t, "tcp", hostLAN4+":8080", "web "+peerLAN4)
		lan.hearsNothing(t, "tcp", hostLAN4+":8081")
	}
	protected(t)
	for _, harm := range [][]string{
		{"systemctl", "start", "nftables.service"}, {"systemctl", "reload", "nftables.service"}, {"systemctl", "restart", "nftables.service"},
		{"systemctl", "stop", "nftables.service"}, {"systemctl", "start", "nftables.service"},
		{"nft", "flush", "ruleset"}, {"nft", "delete", "table", "inet", table}, {"nft", "flush", "table", "inet", table},
	} {
		t.Run(strings.Join(harm, " "), func(t *testing.T) {
			before := s.restorations(t)
			s.must(t, append([]string{"host", "shell"}, harm...)...)
			until(t, "the restoration", func() bool { return s.restorations(t) != before })
			until(t, "its end", func() bool { return s.try("system", "check").code == 0 })
			protected(t)
			if machine := strings.Contains(s.host.Run("nft", "list", "tables"), "inet machine"); harm[1] == "start" && !machine {
				t.Error("the machine's own table is gone")
			}
		})
	}
	t.Run("starts and ends wake nobody", func(t *testing.T) {
		before := s.restorations(t)
		s.must(t, "run", "--rm", "-p", "8090:80", "busybox", "true")
		if s.restorations(t) != before {
			t.Error("cleat-network-restore.service has run")
		}
	})
	// Even without the news.
	s.systemctl(t, "stop", "cleat-network-restore.socket")
	t.Run("system check", func(t *testing.T) {
		s.host.Run("nft", "flush", "ruleset")
		lan.hearsNothing(t, "tcp", hostLAN4+":8080")
		lan.hearsNothing(t, "tcp", hostLAN4+":8081") // not even now
		r := s.try("system", "check")
		if r.code == 0 || !strings.Contains(r.out+r.stderr, "table inet "+table+" is missing") {
			t.Errorf("check: %v", r)
		}
		s.must(t, "system", "check", "--repair")
		s.must(t, "system", "check")
		protected(t)
		s.host.Run("ip", "link", "del", s.bridge(t))
		s.must(t, "system", "check", "--repair")
		protected(t)
	})
	t.Run("the next start", func(t *testing.T) {
		s.host.Run("nft", "flush", "ruleset")
		s.must(t, "run", "--rm", "busybox", "true")
		protected(t)
	})
	t.Run("by hand", func(t *testing.T) {
		s.host.Run("nft", "flush", "ruleset")
		s.systemctl(t, "start", "cleat-network-restore.service")
		protected(t)
	})
	s.must(t, "rm", "-f", "web")
	s.must(t, "system", "check")
}

// installFirewall gives the host a unit like the distribution's.
func (s netSite) installFirewall(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nftables.conf")
	for name, text := range map[string]string{
		conf:                                   "flush ruleset\ntable inet machine {\n}\n",
		filepath.Join(dir, "nftables.service"): strings.ReplaceAll(nftablesUnit, "CONF", conf),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.must(t, "host", "shell", "sh", "-c", "mkdir -p /run/systemd/system && cp "+dir+"/nftables.service /run/systemd/system")
	s.systemctl(t, "daemon-reload")
}

// restorations changes with every run of cleat-network-restore.service.
func (s netSite) restorations(t testing.TB) string {
	t.Helper()
	return s.systemctl(t, "show", "-p", "ExecMainStartTimestampMonotonic", "cleat-network-restore.service")
}

// bridge returns the device of the default network.
func (s netSite) bridge(t testing.TB) string {
	t.Helper()
	for _, l := range s.host.Links() {
		if out, _ := s.host.Try("ip", "-o", "link", "show", l); strings.Contains(out, "alias cleat-") && strings.Contains(out, " bridge ") {
			return l
		}
	}
	t.Fatal("no bridge of the default network")
	return ""
}
