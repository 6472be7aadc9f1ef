package netd_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

var sameAddr = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func planned(t *testing.T, req netd.Request) *netd.Network {
	t.Helper()
	req.Name, req.ID, req.IPv6 = "n", netID, true
	req.Subnets = []netd.Subnet{subnet("10.1.0.0/29"), subnet("fd00:1::/64")}
	n, err := netd.Plan(req, netd.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	return &n
}

func TestConnect(t *testing.T) {
	addr := netip.MustParseAddr
	me := netd.Owner{ContainerID: netID, Cgroup: "/cleat.slice/cleat-x.service"}
	base := netd.Endpoint{NetworkID: netID, ContainerID: netID}
	tests := map[string]struct {
		req  netd.Request
		ask  netd.Attachment
		want func(e *netd.Endpoint)
	}{
		"next of each family": {want: func(e *netd.Endpoint) { e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64") }},
		"with default routes": {ask: netd.Attachment{DefaultRoute: true}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64")
			e.Gateway4, e.Gateway6 = addr("10.1.0.1"), addr("fd00:1::1")
		}},
		"internal networks have none": {req: netd.Request{Internal: true}, ask: netd.Attachment{DefaultRoute: true}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64")
		}},
		"static": {ask: netd.Attachment{Static4: addr("10.1.0.5"), Static6: addr("fd00:1::77"), Last4: addr("10.1.0.4")}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.5/29"), prefix("fd00:1::77/64")
		}},
		"the last one": {ask: netd.Attachment{Last4: addr("10.1.0.4"), Last6: addr("fd00:1::9")}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.4/29"), prefix("fd00:1::9/64")
		}},
		"the last one is taken": {ask: netd.Attachment{Last4: addr("10.1.0.6")}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64")
		}},
		"the last one is of another subnet": {ask: netd.Attachment{Last4: addr("10.9.0.6"), Last6: addr("fd00:1::1")}, want: func(e *netd.Endpoint) {
			e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64")
		}},
		"what else is asked for": {
			req: netd.Request{Options: map[string]string{"com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": "1400"}},
			ask: netd.Attachment{Index: 2, MAC: "02:00:00:00:00:01", Aliases: []string{"a"}},
			want: func(e *netd.Endpoint) {
				e.Addr4, e.Addr6 = prefix("10.1.0.2/29"), prefix("fd00:1::2/64")
				e.Index, e.MAC, e.Aliases, e.Isolated, e.MTU = 2, "02:00:00:00:00:01", []string{"a"}, true, 1400
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := netd.NewLeases(t.TempDir())
			n := planned(t, tt.req)
			if err := l.Take(n.ID, addr("10.1.0.6"), owner("other")); err != nil {
				t.Fatal(err)
			}
			want := base
			tt.want(&want)
			got, err := l.Connect(t.Context(), n, me, tt.ask)
			if diff := cmp.Diff(want, got, sameAddr); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
			if err := l.Disconnect(t.Context(), got); err != nil {
				t.Error(err)
			}
			if left, err := l.All(); len(left) != 1 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestConnectLeavesNothingOnFailure(t *testing.T) {
	addr := netip.MustParseAddr
	me := netd.Owner{ContainerID: netID}
	tests := map[string]struct {
		ask  netd.Attachment
		want error
	}{
		"the second address is taken": {netd.Attachment{Static6: addr("fd00:1::5")}, spec.ErrConflict},
		"outside of the network":      {netd.Attachment{Static4: addr("10.2.0.5")}, spec.ErrInvalid},
		"bad MAC address":             {netd.Attachment{MAC: "01:00:00:00:00:00"}, spec.ErrInvalid},
		"too many networks":           {netd.Attachment{Index: netd.MaxNetworks}, spec.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := netd.NewLeases(t.TempDir())
			n := planned(t, netd.Request{})
			if err := l.Take(n.ID, addr("fd00:1::5"), owner("other")); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Connect(t.Context(), n, me, tt.ask); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if left, err := l.All(); len(left) != 1 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
