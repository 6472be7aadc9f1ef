package netd_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

const netID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func subnet(s string) netd.Subnet { return netd.Subnet{Prefix: prefix(s)} }

func TestPlanAddresses(t *testing.T) {
	tests := map[string]struct {
		req  netd.Request
		host netd.Surroundings
		want string // the prefixes, each with its gateway; or an error
	}{
		"first of the pool":               {want: "172.17.0.0/16>172.17.0.1"},
		"the host's routes are avoided":   {host: netd.Surroundings{Routes: []netip.Prefix{prefix("172.16.0.0/14"), prefix("172.20.7.0/24")}}, want: "172.21.0.0/16>172.21.0.1"},
		"a default route is no obstacle":  {host: netd.Surroundings{Routes: []netip.Prefix{prefix("0.0.0.0/0"), prefix("::/0")}}, want: "172.17.0.0/16>172.17.0.1"},
		"other networks are avoided":      {host: netd.Surroundings{Networks: []netd.Network{{Name: "o", Subnets: []netd.Subnet{subnet("172.17.0.0/17")}}}}, want: "172.18.0.0/16>172.18.0.1"},
		"second pool":                     {host: netd.Surroundings{Routes: []netip.Prefix{prefix("172.16.0.0/12")}}, want: "192.168.0.0/20>192.168.0.1"},
		"own pool in parts":               {host: netd.Surroundings{Pools: []netd.Pool{{prefix("10.9.0.0/16"), 24}}, Routes: []netip.Prefix{prefix("10.9.0.5/32")}}, want: "10.9.1.0/24>10.9.1.1"},
		"last part of a pool":             {host: netd.Surroundings{Pools: []netd.Pool{{prefix("255.255.255.0/24"), 25}}, Routes: []netip.Prefix{prefix("255.255.255.0/25")}}, want: "255.255.255.128/25>255.255.255.129"},
		"given subnet":                    {req: netd.Request{Subnets: []netd.Subnet{subnet("10.1.0.0/16")}}, want: "10.1.0.0/16>10.1.0.1"},
		"given gateway":                   {req: netd.Request{Subnets: []netd.Subnet{{Prefix: prefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.9.9")}}}, want: "10.1.0.0/16>10.1.9.9"},
		"IPv6 of our own":                 {req: netd.Request{IPv6: true}, host: netd.Surroundings{HostID: "m"}, want: "172.17.0.0/16>172.17.0.1 fd77:cd73:faad:9167::/64>fd77:cd73:faad:9167::1"},
		"given IPv6 alone":                {req: netd.Request{IPv6: true, Subnets: []netd.Subnet{subnet("fd00:1::/64")}}, want: "172.17.0.0/16>172.17.0.1 fd00:1::/64>fd00:1::1"},
		"both given, IPv6 first":          {req: netd.Request{IPv6: true, Subnets: []netd.Subnet{subnet("fd00:1::/64"), subnet("10.1.0.0/16")}}, want: "10.1.0.0/16>10.1.0.1 fd00:1::/64>fd00:1::1"},
		"refused: IPv6 without IPv6":      {req: netd.Request{Subnets: []netd.Subnet{subnet("fd00:1::/64")}}, want: "! subnet fd00:1::/64 without --ipv6"},
		"refused: two of a family":        {req: netd.Request{Subnets: []netd.Subnet{subnet("10.1.0.0/16"), subnet("10.2.0.0/16")}}, want: "! two subnets of one family"},
		"refused: overlap":                {req: netd.Request{Subnets: []netd.Subnet{subnet("10.1.2.0/24")}}, host: netd.Surroundings{Networks: []netd.Network{{Name: "o", Subnets: []netd.Subnet{subnet("10.1.0.0/16")}}}}, want: `! subnet 10.1.2.0/24 overlaps 10.1.0.0/16 of network "o"`},
		"refused: host bits":              {req: netd.Request{Subnets: []netd.Subnet{subnet("10.1.2.3/24")}}, want: "! did you mean 10.1.2.0/24"},
		"refused: gateway outside":        {req: netd.Request{Subnets: []netd.Subnet{{Prefix: prefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.2.0.1")}}}, want: "! gateway: address 10.2.0.1 is not within"},
		"refused: gateway is broadcast":   {req: netd.Request{Subnets: []netd.Subnet{{Prefix: prefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.255.255")}}}, want: "! network or broadcast"},
		"refused: range outside":          {req: netd.Request{Subnets: []netd.Subnet{{Prefix: prefix("10.1.0.0/24"), Range: prefix("10.1.0.0/16")}}}, want: "! range 10.1.0.0/16 is not within"},
		"refused: range without a subnet": {req: netd.Request{Subnets: []netd.Subnet{{Range: prefix("10.1.0.0/16")}}}, want: "! without a subnet"},
		"refused: no room":                {req: netd.Request{Subnets: []netd.Subnet{subnet("10.1.0.0/31")}}, want: "! want a length from 1 to 30"},
		"refused: loopback":               {req: netd.Request{Subnets: []netd.Subnet{subnet("127.0.0.0/16")}}, want: "! cannot be routed"},
		"refused: pools used up":          {host: netd.Surroundings{Routes: []netip.Prefix{prefix("128.0.0.0/1")}}, want: "! no free subnet"},
		"refused: bad pool":               {host: netd.Surroundings{Pools: []netd.Pool{{prefix("10.0.0.0/16"), 8}}}, want: "! address pool"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.req.Name, tt.req.ID = "n", netID
			n, err := netd.Plan(tt.req, tt.host)
			var got []string
			for _, s := range n.Subnets {
				got = append(got, s.Prefix.String()+">"+s.Gateway.String())
			}
			check(t, strings.Join(got, " "), err, tt.want)
		})
	}
}

// check compares a result with the one wanted, which is an error of the
// callers' kind if it begins with "! ".
func check(t *testing.T, got string, err error, want string) {
	t.Helper()
	if text, refused := strings.CutPrefix(want, "! "); refused {
		known := errors.Is(err, spec.ErrInvalid) || errors.Is(err, spec.ErrConflict) || errors.Is(err, spec.ErrExists)
		if !known || !strings.Contains(err.Error(), text) {
			t.Errorf("got %q, %v; want an error with %q", got, err, text)
		}
	} else if got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestPlanOptions(t *testing.T) {
	tests := map[string]struct {
		name, key, value string
		want             string
	}{
		"plain":                      {"n", "", "", "cl-0123456789ab 0 false false invalid IP"},
		"default network":            {"bridge", "", "", "cleat0 0 false false invalid IP"},
		"device":                     {"n", "com.docker.network.bridge.name", "br7", "br7 0 false false invalid IP"},
		"mtu":                        {"n", "com.docker.network.driver.mtu", "1400", "cl-0123456789ab 1400 false false invalid IP"},
		"no icc":                     {"n", "com.docker.network.bridge.enable_icc", "false", "cl-0123456789ab 0 true false invalid IP"},
		"no masquerade":              {"n", "com.docker.network.bridge.enable_ip_masquerade", "false", "cl-0123456789ab 0 false true invalid IP"},
		"publish address":            {"n", "com.docker.network.bridge.host_binding_ipv4", "127.0.0.1", "cl-0123456789ab 0 false false 127.0.0.1"},
		"refused: unknown":           {"n", "com.example", "1", "! unknown key"},
		"refused: device too long":   {"n", "com.docker.network.bridge.name", "sixteen-letters-", "! want 1 to 15"},
		"refused: device is a path":  {"n", "com.docker.network.bridge.name", "a/b", "! without space"},
		"refused: device all":        {"n", "com.docker.network.bridge.name", "all", "! reserved"},
		"refused: mtu":               {"n", "com.docker.network.driver.mtu", "12", "! MTU 12"},
		"refused: mtu no number":     {"n", "com.docker.network.driver.mtu", "big", "! mtu=big"},
		"refused: name of a mode":    {"host", "", "", "! reserved"},
		"refused: name with a slash": {"a/b", "", "", "! want letters"},
		"refused: empty name":        {"", "", "", "! 1 to 128"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := netd.Request{Name: tt.name, ID: netID}
			if tt.key != "" {
				req.Options = map[string]string{tt.key: tt.value}
			}
			n, err := netd.Plan(req, netd.Surroundings{})
			got := ""
			if err == nil {
				got = strings.Join([]string{n.Device, itoa(n.MTU), btoa(n.Isolated), btoa(n.NoMasq), n.HostIP.String()}, " ")
			}
			check(t, got, err, tt.want)
		})
	}
}

func itoa(n int) string   { b, _ := json.Marshal(n); return string(b) }
func btoa(on bool) string { b, _ := json.Marshal(on); return string(b) }

func TestPlanMinds(t *testing.T) {
	first, err := netd.Plan(netd.Request{Name: "a", ID: netID}, netd.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	host := netd.Surroundings{Networks: []netd.Network{first}}
	if _, err := netd.Plan(netd.Request{Name: "a", ID: "f" + netID[1:]}, host); !errors.Is(err, spec.ErrExists) {
		t.Errorf("second network of a name: %v", err)
	}
	req := netd.Request{Name: "b", ID: "f" + netID[1:], Options: map[string]string{"com.docker.network.bridge.name": first.Device}}
	if _, err := netd.Plan(req, host); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("second network of a device: %v", err)
	}
}

func TestULAIsStableAndFree(t *testing.T) {
	host := netd.Surroundings{HostID: "0123"}
	a := netd.ULA(host, netID)
	if b := netd.ULA(host, netID); a != b || a.Bits() != 64 || a.Addr().AsSlice()[0] != 0xfd {
		t.Errorf("%s, then %s", a, b)
	}
	if b := netd.ULA(netd.Surroundings{HostID: "4567"}, netID); a == b {
		t.Errorf("two hosts share %s", a)
	}
	host.Routes = []netip.Prefix{a}
	if b := netd.ULA(host, netID); a == b || b.Addr().As16()[1] != a.Addr().As16()[1] {
		t.Errorf("with %s taken: %s", a, b)
	}
}

func TestNetworkSurvivesJSON(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		n, err := netd.Plan(netd.Request{Name: "a", ID: netID, IPv6: v6, Labels: map[string]string{"k": "v"}}, netd.Surroundings{})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		var back netd.Network
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(n, back, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s:\n%s", data, diff)
		}
		if err := back.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckStatic(t *testing.T) {
	n, err := netd.Plan(netd.Request{Name: "a", ID: netID, Subnets: []netd.Subnet{subnet("10.1.0.0/24")}}, netd.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"10.1.0.7": "", "10.2.0.7": "! not within", "10.1.0.0": "! network or broadcast", "10.1.0.255": "! network or broadcast",
		"10.1.0.1": "! gateway's", "fd00::1": "! has no IPv6",
	} {
		var four, six netip.Addr
		if a := netip.MustParseAddr(in); a.Is4() {
			four = a
		} else {
			six = a
		}
		check(t, "", n.CheckStatic(four, six), want)
	}
	check(t, "", n.CheckStatic(netip.MustParseAddr("fd00::1"), netip.Addr{}), "! wrong family")
}

func TestEndpointNames(t *testing.T) {
	e := netd.Endpoint{ContainerID: netID, Index: 10, Addr4: prefix("172.17.0.2/16")}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	mac, err := e.HardwareAddr()
	if e.Interface() != "eth10" || e.HostInterface() != "cv0123456789aba" || mac != [6]byte{2, 0x42, 172, 17, 0, 2} || err != nil {
		t.Errorf("%s, %s, %x, %v", e.Interface(), e.HostInterface(), mac, err)
	}
}

func TestParseMAC(t *testing.T) {
	for in, ok := range map[string]bool{
		"02:42:ac:11:00:02": true, "02-42-AC-11-00-02": true,
		"": false, "02:42:ac:11:00": false, "02:42:ac:11:00:0g": false, "01:00:5e:00:00:01": false,
		"00:00:00:00:00:00": false, "02:42-ac:11:00:02": false, "02x42xacx11x00x02": false,
	} {
		if _, err := netd.ParseMAC(in); (err == nil) != ok {
			t.Errorf("ParseMAC(%q): %v", in, err)
		}
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("02:42:ac:11:00:02")
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := netd.ParseMAC(s)
		if err == nil && mac[0]&1 != 0 {
			t.Fatalf("%q is multicast", s)
		}
	})
}
