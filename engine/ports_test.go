package engine

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
)

func TestRunningPorts(t *testing.T) {
	addr := netip.MustParseAddr
	c := spec.Container{Network: spec.Network{Exposed: []spec.Port{{Proto: "tcp", ContainerPort: 80}, {Proto: "tcp", ContainerPort: 99}}}}
	published := []spec.Port{{Proto: "tcp", HostPort: 8080, ContainerPort: 80}, {Proto: "udp", HostIP: addr("127.0.0.1"), HostPort: 53, ContainerPort: 53}}
	live := netd.Live{Ports: published, Endpoints: []netd.Endpoint{{Gateway4: addr("10.0.0.1"), Gateway6: addr("fd00::1")}}}
	want := []spec.Port{
		{Proto: "tcp", HostIP: addr("0.0.0.0"), HostPort: 8080, ContainerPort: 80}, {Proto: "tcp", HostIP: addr("::"), HostPort: 8080, ContainerPort: 80},
		{Proto: "udp", HostIP: addr("127.0.0.1"), HostPort: 53, ContainerPort: 53}, {Proto: "tcp", ContainerPort: 99},
	}
	if diff := cmp.Diff(want, runningPorts(c, live), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A port without an address is published where its network says, else where the
// settings say, else everywhere.
func TestWherePortsArePublished(t *testing.T) {
	if !link.HasIPv6() {
		t.Skip("without IPv6, everywhere is in IPv4")
	}
	e := newNetworkEngine(t)
	addr := netip.MustParseAddr
	c := spec.Container{Network: spec.Network{Ports: []spec.Port{
		{Proto: "tcp", HostPort: 80, ContainerPort: 80}, {Proto: "tcp", HostIP: addr("10.0.0.9"), HostPort: 81, ContainerPort: 81},
	}}}
	four := netd.Network{Subnets: []netd.Subnet{{Prefix: netip.MustParsePrefix("198.18.0.0/26")}}}
	both := netd.Network{Subnets: append(four.Subnets, netd.Subnet{Prefix: netip.MustParsePrefix("2001:db8::/64")})}
	bound := netd.Network{Subnets: both.Subnets, HostIP: addr("10.0.0.1")}
	tests := map[string]struct {
		config  string
		network netd.Network
		want    netip.Addr
	}{
		"everywhere":             {"", both, netip.Addr{}},
		"everywhere by a proxy":  {"", four, netip.Addr{}},
		"as the settings say":    {"127.0.0.1", both, addr("127.0.0.1")},
		"the network goes first": {"127.0.0.1", bound, addr("10.0.0.1")},
	}
	for name, tt := range tests {
		e.config.PublishAddress = netip.Addr{}
		if tt.config != "" {
			e.config.PublishAddress = addr(tt.config)
		}
		ports, err := e.published(c, &tt.network)
		if err != nil || ports[0].HostIP != tt.want || ports[1].HostIP != addr("10.0.0.9") {
			t.Errorf("%s: %v, %v", name, ports, err)
		}
	}
}
