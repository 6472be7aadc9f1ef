package unitgen_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

func TestListens(t *testing.T) {
	ip := netip.MustParseAddr
	ports := []spec.Port{
		{Proto: spec.TCP, HostPort: 80, ContainerPort: 8080},
		{Proto: spec.UDP, HostIP: ip("::"), HostPort: 53, ContainerPort: 53},
		{Proto: spec.TCP, HostIP: ip("127.0.0.1"), HostPort: 81, ContainerPort: 8080},
		{Proto: spec.SCTP, HostPort: 82, ContainerPort: 82},
	}
	type listens = []unitgen.Listen
	tests := map[string]struct {
		ipv6 bool
		want listens
	}{
		"both families": {true, listens{{"Stream", "0.0.0.0:80"}, {"Stream", "[::]:80"}, {"Datagram", "[::]:53"}, {"Stream", "127.0.0.1:81"}}},
		"IPv4 alone":    {false, listens{{"Stream", "0.0.0.0:80"}, {"Stream", "127.0.0.1:81"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, unitgen.Listens(ports, tt.ipv6)); diff != "" {
				t.Errorf("Listens (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSocket(t *testing.T) {
	c := spec.Container{ID: "abc", Name: "web"}
	u, err := unitgen.Socket(c, []unitgen.Listen{{Type: "Stream", Address: "0.0.0.0:80"}, {Type: "Datagram", Address: "[::1]:53"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by cleat. Change it with "systemctl edit", which keeps changes apart.

[Unit]
X-Cleat-Id=abc
CollectMode=inactive-or-failed
Description=Published ports of container web
Documentation="man:cleat(1)"
StopWhenUnneeded=yes

[Socket]
BindIPv6Only=ipv6-only
FreeBind=yes
ListenStream=0.0.0.0:80
ListenDatagram=[::1]:53
Slice=cleat.slice
`
	if diff := cmp.Diff(want, unitgen.Text(u)); diff != "" {
		t.Errorf("socket unit (-want +got):\n%s", diff)
	}
	if _, err := unitgen.Socket(c, []unitgen.Listen{{Type: "Stream", Address: "80\nExecStart=/bin/sh"}}); err == nil {
		t.Error("an address that is none is accepted")
	}
}
