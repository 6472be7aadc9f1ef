package link_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
)

// Whatever somebody does to a bridge while containers are plugged in is found,
// and mended without them noticing.
func TestRestore(t *testing.T) {
	const gateway = "172.17.0.1"
	for name, tt := range map[string]struct {
		harm [][]string
		want string // of what is found
	}{
		"nothing":           {nil, ""},
		"bridge removed":    {[][]string{{"ip", "link", "del", "cleat0"}}, "bridge cleat0 is missing"},
		"bridge down":       {[][]string{{"ip", "link", "set", "cleat0", "down"}}, "bridge cleat0 is down; bridge cleat0 has no address IPV6"},
		"alias gone":        {[][]string{{"ip", "link", "set", "cleat0", "alias", ""}}, "bridge cleat0 is not as the network says"},
		"group changed":     {[][]string{{"ip", "link", "set", "cleat0", "group", "0"}}, "bridge cleat0 is not in group 794279"},
		"addresses flushed": {[][]string{{"ip", "-4", "addr", "flush", "dev", "cleat0"}}, "bridge cleat0 has no address 172.17.0.1/16"},
		"port taken away":   {[][]string{{"ip", "link", "set", "cv0123456789ab0", "nomaster"}}, "interface cv0123456789ab0 is not connected to bridge cleat0"},
		"port down":         {[][]string{{"ip", "link", "set", "cv0123456789ab0", "down"}}, "interface cv0123456789ab0 is not connected to bridge cleat0"},
		"sysctls reset": {[][]string{
			{"sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"},
			{"sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/cleat0/route_localnet"},
			{"sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"},
			{"sh", "-c", "echo 2 > /proc/sys/net/ipv6/conf/cleat0/accept_ra"},
		}, "sysctl net.ipv4.conf.cleat0.route_localnet is not 1; sysctl net.ipv6.conf.cleat0.accept_ra is not 0; " +
			"sysctl net.ipv4.ip_forward is 0; sysctl net.ipv6.conf.all.forwarding is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			host, box := noRouter(t), nstest.New(t, "box")
			n := network(t, netd.Request{IPv6: true})
			e := endpoint(n, netID, 1)
			ends := []netd.Endpoint{e}
			plug(t, host, box, ensure(t, host, n), e)
			box.Echo("tcp", ":80")
			for _, argv := range tt.harm {
				host.Run(argv...)
			}
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "IPV6", n.Subnet6().Bridge().String()), strings.Join(inspect(t, host, n, ends), "; ")); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			host.Do(func() {
				if err := link.Restore(n, ends); err != nil {
					t.Error(err)
				}
			})
			if left := inspect(t, host, n, ends); len(left) > 0 {
				t.Errorf("still %v", left)
			}
			for addr, from := range map[string]string{"172.17.0.2:80": gateway, "[" + e.Addr6.Addr().String() + "]:80": n.Subnet6().Gateway.String()} {
				if got := host.Ask("tcp", addr); got != "box "+from {
					t.Errorf("%s answers %q", addr, got)
				}
			}
		})
	}
}

func inspect(t *testing.T, host *nstest.NS, n *netd.Network, ends []netd.Endpoint) (found []string) {
	t.Helper()
	host.Do(func() {
		var err error
		if found, err = link.Inspect(n, ends); err != nil {
			t.Error(err)
		}
	})
	return found
}

// What cannot be mended from outside is reported and does not keep the rest.
func TestRestoreWithoutInterface(t *testing.T) {
	host, box := noRouter(t), nstest.New(t, "box")
	n := network(t, netd.Request{})
	gone, e := endpoint(n, netID, 1), endpoint(n, "f"+netID[1:], 2)
	plug(t, host, box, ensure(t, host, n), e)
	host.Run("ip", "link", "set", e.HostInterface(), "nomaster")
	ends := []netd.Endpoint{gone, e}
	host.Do(func() {
		if err := link.Restore(n, ends); err != nil {
			t.Error(err)
		}
	})
	want := []string{"interface " + gone.HostInterface() + " is missing: restart the container"}
	if got := inspect(t, host, n, ends); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
