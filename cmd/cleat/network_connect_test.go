package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// plugboard is an engine that notes connections.
type plugboard struct {
	backend
	got []any
}

func (p *plugboard) NetworkConnect(_ context.Context, network, container string, r engine.NetworkRequest) error {
	p.got = []any{network, container, r}
	return p.fail(container)
}

func (p *plugboard) NetworkDisconnect(_ context.Context, network, container string, opt engine.NetworkDisconnectOptions) error {
	p.got = []any{network, container, opt}
	return p.fail(container)
}

func (p *plugboard) fail(container string) error {
	if container == "bad" {
		return classError{"no such container: bad", spec.ErrNotFound}
	}
	return nil
}

func TestNetworkConnect(t *testing.T) {
	t.Parallel()
	tests := map[string][]any{
		"connect web c": {"web", "c", engine.NetworkRequest{}},
		"connect --alias A,b --alias c --driver-opt k=v --gw-priority -2 --ip 10.0.0.9 --ip6 fd00::9 --link db:d web c": {"web", "c", engine.NetworkRequest{
			IPv4: netip.MustParseAddr("10.0.0.9"), IPv6: netip.MustParseAddr("fd00::9"), Aliases: []string{"a", "b", "c"}, Links: []string{"db:d"},
			Priority: -2, Options: map[string]string{"k": "v"},
		}},
		"disconnect web c":    {"web", "c", engine.NetworkDisconnectOptions{}},
		"disconnect -f web c": {"web", "c", engine.NetworkDisconnectOptions{Force: true}},
	}
	for line, expect := range tests {
		p := &plugboard{}
		want(t, try(t, p, strings.Fields("network "+line)...), outcome{})
		if diff := cmp.Diff(expect, p.got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	for line, code := range map[string]int{
		"connect web": 1, "disconnect web": 1, "connect --ip x web c": exitOwn, "connect --ip6 10.0.0.1 web c": exitOwn, "connect --link : web c": exitOwn,
		"connect --link-local-ip fe80::1 web c": exitOwn, "connect --driver-opt x web c": exitOwn, "connect --alias= web c": 0,
	} {
		if got := try(t, &plugboard{}, strings.Fields("network "+line)...); got.Code != code || (code != 0) != strings.HasPrefix(got.Err, "cleat: ") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	for _, verb := range []string{"connect", "disconnect"} {
		want(t, try(t, &plugboard{}, "network", verb, "web", "bad"), outcome{Err: "cleat: no such container: bad\n", Code: 1})
	}
}
