package netd_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

func macvlanRequest(options map[string]string, subnets ...string) netd.Request {
	req := netd.Request{ID: strings.Repeat("a", 64), Name: "lan", Driver: netd.DriverMacvlan, Options: options}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		req.Subnets = append(req.Subnets, netd.Subnet{Prefix: p})
		req.IPv6 = req.IPv6 || p.Addr().Is6()
	}
	return req
}

type options = map[string]string

func TestPlanMacvlan(t *testing.T) {
	n, err := netd.Plan(macvlanRequest(options{"parent": "eth0.42", "com.docker.network.driver.mtu": "1400"}, "10.7.0.0/24", "fd07::/64"), netd.Surroundings{
		Routes: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/24")}, // of the LAN itself, which is no obstacle
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "eth0.42", "bridge", "10.7.0.1", "fd07::1"},
		[]string{n.Device, n.Parent, n.Mode, n.Subnet4().Gateway.String(), n.Subnet6().Gateway.String()}); diff != "" || n.MTU != 1400 {
		t.Errorf("%+v\n%s", n, diff)
	}
	if base, id, isVLAN := n.VLAN(); base != "eth0" || id != 42 || !isVLAN {
		t.Errorf("VLAN %s %d %v", base, id, isVLAN)
	}
}

func TestPlanRefusesMacvlan(t *testing.T) {
	const lan = "10.7.0.0/24"
	v6only := macvlanRequest(options{"parent": "eth0"}, lan)
	v6only.IPv6, v6only.NoIPv4 = true, true
	bridge := macvlanRequest(options{"parent": "eth0"})
	bridge.Driver = ""
	ipvlan, overlay, unknown := bridge, bridge, bridge
	ipvlan.Driver, overlay.Driver, unknown.Driver = "ipvlan", "overlay", "vlan"
	for name, tt := range map[string]struct {
		req  netd.Request
		want string
	}{
		"no parent":                    {macvlanRequest(nil, lan), "give -o parent=DEVICE"},
		"no subnet":                    {macvlanRequest(options{"parent": "eth0"}), "give that one's --subnet"},
		"IPv6 without its subnet":      {v6only, "give that one's --subnet"},
		"mode":                         {macvlanRequest(options{"parent": "eth0", "macvlan_mode": "l2"}, lan), `macvlan_mode "l2": want one of bridge, vepa, private, passthru`},
		"key of the bridge":            {macvlanRequest(options{"parent": "eth0", "com.docker.network.bridge.enable_icc": "false"}, lan), "unknown key for driver macvlan"},
		"MTU":                          {macvlanRequest(options{"parent": "eth0", "com.docker.network.driver.mtu": "9"}, lan), "MTU 9"},
		"loopback":                     {macvlanRequest(options{"parent": "lo"}, lan), `device "lo" is reserved`},
		"VLAN 0":                       {macvlanRequest(options{"parent": "eth0.0"}, lan), "want a VLAN from 1 to 4094"},
		"VLAN 4095":                    {macvlanRequest(options{"parent": "eth0.4095"}, lan), "want a VLAN from 1 to 4094"},
		"VLAN without a number":        {macvlanRequest(options{"parent": "eth0."}, lan), "want a VLAN from 1 to 4094"},
		"VLAN of a VLAN":               {macvlanRequest(options{"parent": "eth0.1.2"}, lan), `device "eth0.1"`},
		"path":                         {macvlanRequest(options{"parent": "../eth0"}, lan), "parent: device"},
		"long name":                    {macvlanRequest(options{"parent": "abcdefghijkl.4094"}, lan), "15 characters at most"},
		"the bridge driver and parent": {bridge, "unknown key"},
		"ipvlan":                       {ipvlan, "driver ipvlan is not supported: use macvlan"},
		"overlay":                      {overlay, "driver overlay is not supported"},
		"some driver":                  {unknown, `driver "vlan" is not known: want bridge or macvlan`},
	} {
		if _, err := netd.Plan(tt.req, netd.Surroundings{}); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestMacvlanParentsAreNotShared(t *testing.T) {
	first, err := netd.Plan(macvlanRequest(options{"parent": "eth0"}, "10.7.0.0/24"), netd.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	second := macvlanRequest(options{"parent": "eth0"}, "10.8.0.0/24")
	second.Name, second.ID = "second", strings.Repeat("b", 64)
	around := netd.Surroundings{Networks: []netd.Network{first}}
	if _, err := netd.Plan(second, around); !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), `parent eth0 is that of network "lan"`) {
		t.Error(err)
	}
	second.Options = options{"parent": "eth1"}
	if _, err := netd.Plan(second, around); err != nil {
		t.Error(err)
	}
}
