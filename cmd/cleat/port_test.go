package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func somePorts(proto spec.Proto, ip string, host, container uint16) spec.Port {
	p := spec.Port{Proto: proto, HostPort: host, ContainerPort: container}
	if ip != "" {
		p.HostIP = netip.MustParseAddr(ip)
	}
	return p
}

func TestPortText(t *testing.T) {
	t.Parallel()
	p := somePorts
	tests := map[string]struct {
		ports []spec.Port
		want  string
	}{
		"none":                          {nil, ""},
		"exposed":                       {[]spec.Port{p("tcp", "", 0, 80)}, "80/tcp"},
		"both families":                 {[]spec.Port{p("tcp", "::", 8080, 80), p("tcp", "0.0.0.0", 8080, 80)}, "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"},
		"the same on both sides":        {[]spec.Port{p("tcp", "0.0.0.0", 80, 80), p("tcp", "::", 80, 80)}, "0.0.0.0:80->80/tcp, [::]:80->80/tcp"},
		"ranges":                        {[]spec.Port{p("tcp", "0.0.0.0", 82, 82), p("tcp", "0.0.0.0", 80, 80), p("tcp", "0.0.0.0", 81, 81), p("tcp", "0.0.0.0", 90, 90)}, "0.0.0.0:80-82->80-82/tcp, 0.0.0.0:90->90/tcp"},
		"ranges of exposed ports":       {[]spec.Port{p("tcp", "", 0, 80), p("tcp", "", 0, 81), p("udp", "", 0, 82)}, "80-81/tcp, 82/udp"},
		"protocols are kept apart":      {[]spec.Port{p("tcp", "1.2.3.4", 80, 80), p("udp", "1.2.3.4", 81, 81)}, "1.2.3.4:80->80/tcp, 1.2.3.4:81->81/udp"},
		"what is translated comes last": {[]spec.Port{p("tcp", "0.0.0.0", 1, 9), p("tcp", "0.0.0.0", 80, 80), p("tcp", "", 0, 99)}, "0.0.0.0:80->80/tcp, 99/tcp, 0.0.0.0:1->9/tcp"},
	}
	for name, tt := range tests {
		if got := portText(tt.ports); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// publisher is a fleet whose first container publishes ports.
func publisher() fleet {
	p := somePorts
	f := someContainers()
	f.list[0].Ports = []spec.Port{p("tcp", "0.0.0.0", 8080, 80), p("tcp", "::", 8080, 80), p("udp", "127.0.0.1", 53, 53), p("tcp", "", 0, 99)}
	f.list[0].Network = spec.Network{
		Mode: "front", Endpoints: []spec.Endpoint{{Network: "front", NetworkID: "0123456789abcdef"}, {Network: "back"}},
		Exposed: []spec.Port{p("tcp", "", 0, 99)}, Ports: []spec.Port{p("tcp", "", 8080, 80), p("udp", "127.0.0.1", 53, 53)},
	}
	f.list[1].Network, f.list[1].Ports = spec.Network{Mode: "container:x"}, nil
	return f
}

func TestPort(t *testing.T) {
	t.Parallel()
	tests := map[string]outcome{
		"web":        {Out: "53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"},
		"web 80":     {Out: "0.0.0.0:8080\n[::]:8080\n"},
		"web 53/udp": {Out: "127.0.0.1:53\n"},
		"web 53":     {Err: "cleat: no public port '53/tcp' published for web\n", Code: 1},
		"web 99/tcp": {Err: "cleat: no public port '99/tcp' published for web\n", Code: 1},
		"web x":      {Err: "cleat: invalid port 'x': it is PORT or PORT/PROTO\n", Code: 1},
		"web 80-90":  {Err: "cleat: invalid port '80-90': it is PORT or PORT/PROTO\n", Code: 1},
		"old":        {},
		"nosuch":     {Err: "cleat: no such container: nosuch\n", Code: 1},
	}
	for line, expect := range tests {
		want(t, try(t, portBox{fleet: publisher()}, strings.Fields("port "+line)...), expect)
		want(t, try(t, portBox{fleet: publisher()}, strings.Fields("container port "+line)...), expect)
	}
}

func TestPsShowsNetworksAndPorts(t *testing.T) {
	t.Parallel()
	want(t, try(t, publisher(), "ps", "-a", "--format", "{{.Names}} {{.Networks}} {{.Ports}}"), outcome{
		Out: "web front,back 127.0.0.1:53->53/udp, 99/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\nweb-db  \nold none \n",
	})
	for filter, names := range map[string]string{
		"publish=8080": "web\n", "publish=8000-9000/tcp": "web\n", "publish=80": "", "publish=8080/udp": "", "publish=53/udp": "web\n",
		"expose=80": "web\n", "expose=99/tcp": "web\n", "expose=53": "", "expose=53/udp": "web\n", "expose=8080": "",
		"network=front": "web\n", "network=back": "web\n", "network=0123456789ab": "web\n", "network=none": "old\n", "network=nosuch": "",
	} {
		want(t, try(t, publisher(), "ps", "-a", "--format", "{{.Names}}", "-f", filter), outcome{Out: names})
	}
}

// portBox is a fleet whose containers can be asked for by name.
type portBox struct{ fleet }

func (b portBox) Get(_ context.Context, ref string) (engine.Container, error) {
	for _, ct := range b.list {
		if ct.Name == ref {
			return ct, nil
		}
	}
	return engine.Container{}, classError{"no such container: " + ref, spec.ErrNotFound}
}
