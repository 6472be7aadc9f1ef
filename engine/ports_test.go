package engine

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/netd"
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
