package engine

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/spec"
)

func TestParsePublish(t *testing.T) {
	addr := netip.MustParseAddr
	tests := map[string][]spec.Port{
		"80":                       {{Proto: "tcp", ContainerPort: 80}},
		"127.0.0.1:8080:80/udp":    {{Proto: "udp", HostIP: addr("127.0.0.1"), HostPort: 8080, ContainerPort: 80}},
		"target=80":                {{Proto: "tcp", ContainerPort: 80}},
		"target=80,published=8080": {{Proto: "tcp", HostPort: 8080, ContainerPort: 80}},
		"published=8080,target=80,mode=host,protocol=udp,host_ip=10.0.0.1": {{Proto: "udp", HostIP: addr("10.0.0.1"), HostPort: 8080, ContainerPort: 80}},
		"target=80,host_ip=::1":               {{Proto: "tcp", HostIP: addr("::1"), ContainerPort: 80}},
		"target=80,host_ip=[::1],published=1": {{Proto: "tcp", HostIP: addr("::1"), HostPort: 1, ContainerPort: 80}},
		"target=80-81,published=90-91":        {{Proto: "tcp", HostPort: 90, ContainerPort: 80}, {Proto: "tcp", HostPort: 91, ContainerPort: 81}},
	}
	for in, want := range tests {
		got, err := ParsePublish(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{
		"", "x", "0", "80:65536", "target=", "published=80", "target=80,target=81", "target=80,mode=x", "target=80,nosuch=1",
		"target=80,tcp", "target=80,host_ip=x", "target=80,protocol=icmp", "target=80:81",
	} {
		if got, err := ParsePublish(in); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestParseExpose(t *testing.T) {
	want := []spec.Port{{Proto: "udp", ContainerPort: 53}, {Proto: "udp", ContainerPort: 54}}
	if got, err := ParseExpose("53-54/udp"); err != nil || !cmp.Equal(want, got, cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("%v, %v", got, err)
	}
	for _, in := range []string{"80:80", "", "x", "80/icmp", "70000"} {
		if got, err := ParseExpose(in); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}
