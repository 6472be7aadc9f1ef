package wire_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// Remove leaves the host as it was, and a host on which a container runs alone.
func TestRemove(t *testing.T) {
	needNft(t)
	s := newSite(t)
	before := s.host.Links()
	n := s.network(netd.Request{Name: "web"})
	s.network(netd.Request{Name: "unused"})
	s.start(n, "web", "8080:80")
	if got := s.host.Sysctl("ipv4/ip_forward"); got != "2" {
		t.Fatalf("forwarding is %q while a container runs, want 2", got)
	}
	s.onHost(func(ctx context.Context) error {
		if err := s.wires.Remove(ctx, table, s.networks); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("Remove while a container runs: %v, want a conflict", err)
		}
		return nil
	})
	s.asks("after a removal that was refused", host4+":8080", "web "+peer4)

	if err := os.RemoveAll(s.wires.Lives().Dir()); err != nil { // it has ended
		t.Fatal(err)
	}
	for range 2 { // that there is nothing is no error
		s.onHost(func(ctx context.Context) error { return s.wires.Remove(ctx, table, s.networks) })
	}
	if after := s.host.Links(); !slices.Equal(after, before) {
		t.Errorf("devices %q, want %q", after, before)
	}
	if tables := strings.TrimSpace(s.host.Run("nft", "list", "tables")); tables != "" {
		t.Errorf("tables of the firewall: %q", tables)
	}
	if got := s.host.Sysctl("ipv4/ip_forward"); got != "0" {
		t.Errorf("forwarding is %q in the end, want 0", got)
	}
}
