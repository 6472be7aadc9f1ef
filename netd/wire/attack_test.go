package wire_test

import (
	"testing"

	"github.com/cleat-project/cleat/netd"
)

// A reload of the machine's firewall lifts the isolation of networks from each
// other only for as long as the restoration takes (CVE-2025-54410).
func TestIsolationIsRestored(t *testing.T) {
	needNft(t)
	s := newSite(t)
	one, other := s.network(netd.Request{Name: "one"}), s.network(netd.Request{Name: "other"})
	inside := s.network(netd.Request{Name: "inside", Internal: true})
	evil := s.start(one, "evil")
	s.start(other, "victim")
	s.start(inside, "secret")
	reach := func(when, victim, secret string) {
		t.Helper()
		for addr, want := range map[string]string{"172.18.0.2:80": victim, "172.19.0.2:80": secret} {
			ask := evil.Ask
			if want == "" {
				ask = evil.AskInVain
			}
			if got := ask("tcp", addr); got != want {
				t.Errorf("%s: %s answers %q, want %q", when, addr, got, want)
			}
		}
	}
	reach("before", "", "")
	s.host.Run("nft", "flush", "ruleset")
	// Nothing but the firewall stands between them, so the attack is a real one. An
	// internal container has no way back.
	reach("flushed", "victim 172.17.0.2", "")
	s.restore()
	reach("restored", "", "")
	s.host.Run("nft", "flush", "ruleset")
	s.start(one, "next")
	reach("restored by a start", "", "")
}
