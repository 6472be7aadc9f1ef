package opts

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/engine"
)

func TestEndpoint(t *testing.T) {
	t.Parallel()
	tests := map[string]engine.NetworkRequest{
		"none":          {Name: "none"},
		"container:web": {Name: "container:web"},
		"default":       {Name: "default"},
		"name=a":        {Name: "a"},
		" Name=a, ALIAS=B,alias=c,ip=10.0.0.1,ip6=fd00::1,mac-address=02:42:00:00:00:01,gw-priority=5,driver-opt=k=v=w,driver-opt=l=": {
			Name: "a", Aliases: []string{"b", "c"}, IPv4: netip.MustParseAddr("10.0.0.1"), IPv6: netip.MustParseAddr("fd00::1"),
			MAC: "02:42:00:00:00:01", Priority: 5, Options: map[string]string{"k": "v=w", "l": ""},
		},
	}
	for in, want := range tests {
		got, err := Endpoint(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	for in, says := range map[string]string{
		"": "no name set for network", "container:": "invalid container format container:<name|id>", "alias=x": "network name/id is not specified",
		"name=a,b": "invalid field b: must be a key=value pair", "name=": "invalid field name=", "name=a,x=y": "invalid field key x: the keys are",
		"name=a,ip=x": "invalid IPv4 address: x", "name=a,ip=::1": "invalid IPv4 address: ::1", "name=a,ip6=10.0.0.1": "invalid IPv6 address: 10.0.0.1",
		"name=a,ip6=fe80::1%eth0": "invalid IPv6 address", "name=a,link-local-ip=fe80::1": "link-local-ip is not supported",
		"name=a,gw-priority=x": "invalid gw-priority: x", "name=a,driver-opt=x": "invalid key value pair format in driver options: x", `name="a`: "comma separated values",
	} {
		if _, err := Endpoint(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", in, err, says)
		}
	}
}

func TestLinksAndAliases(t *testing.T) {
	t.Parallel()
	check(t, Link, map[string]result[string]{
		"db": ok("db"), "db:d": ok("db:d"), "/db:d": ok("/db:d"),
		"": bad[string]("bad format for links"), ":a": bad[string]("bad format"), "a:": bad[string]("bad format"), "a:b:c": bad[string]("bad format for links: a:b:c"),
	})
	check(t, Alias, map[string]result[string]{"Web": ok("web"), "": bad[string]("invalid network alias"), "a b": bad[string]("invalid network alias")})
}
