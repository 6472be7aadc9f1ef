package netd_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

func TestParsePorts(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"one number is the container's":        {"80", "80/tcp"},
		"host before container":                {"8080:80", "8080:80/tcp"},
		"protocol":                             {"53:53/udp", "53:53/udp"},
		"protocol in capitals":                 {"53:53/SCTP", "53:53/sctp"},
		"address":                              {"127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"},
		"address with a random port":           {"127.0.0.1::80", "127.0.0.1::80/tcp"},
		"IPv6 address":                         {"[::1]:8080:80/udp", "[::1]:8080:80/udp"},
		"IPv6 address with a random port":      {"[fd00::1]::80", "[fd00::1]::80/tcp"},
		"all of IPv4 stays all of IPv4":        {"0.0.0.0:80:80", "0.0.0.0:80:80/tcp"},
		"mapped address is an IPv4 address":    {"[::ffff:10.0.0.1]:80:80", "10.0.0.1:80:80/tcp"},
		"ranges go in step":                    {"8000-8002:80-82", "8000:80/tcp 8001:81/tcp 8002:82/tcp"},
		"range in the container alone":         {"80-81", "80/tcp 81/tcp"},
		"range on the host to choose from":     {"8000-8010:80", "8000-8010:80/tcp"},
		"port 0 on the host is random":         {"0:80", "80/tcp"},
		"range of one":                         {"80-80:90-90", "80:90/tcp"},
		"refused: nothing":                     {"", "! not a port"},
		"refused: no number":                   {"http", "! not a port"},
		"refused: port 0 in the container":     {"80:0", "! 0 is not a port"},
		"refused: too large":                   {"65536:80", "! not a port from"},
		"refused: negative":                    {"-1:80", "! not a port"},
		"refused: backwards":                   {"90-80", "! backwards"},
		"refused: ranges of different lengths": {"8000-8001:80-82", "! 3 ports in the container, but 2"},
		"refused: range from 0":                {"0-5:80", "! cannot begin at 0"},
		"refused: protocol":                    {"80/icmp", "! want tcp, udp or sctp"},
		"refused: empty protocol":              {"80/", "! want tcp, udp or sctp"},
		"refused: bare IPv6":                   {"::1:80:80", "! IPv6 one in brackets"},
		"refused: name as address":             {"localhost:80:80", "! want an IPv4 address"},
		"refused: zone":                        {"[fe80::1%eth0]:80:80", "! host address"},
		"refused: bracket left open":           {"[::1:80:80", "! "},
		"refused: address alone":               {"[::1]", "! not a port"},
		"refused: plus sign":                   {"+80:80", "! not a port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ports, err := netd.ParsePorts(tt.in)
			got := strings.Trim(fmt.Sprint(ports), "[]")
			if len(ports) > 0 {
				got = ""
				for _, p := range ports {
					got += " " + p.String()
				}
				got = got[1:]
			}
			if want, refused := strings.CutPrefix(tt.want, "! "); refused {
				if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), want) {
					t.Errorf("ParsePorts(%q) = %s, %v; want an error with %q", tt.in, got, err, want)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("ParsePorts(%q) = %s, %v; want %s", tt.in, got, err, tt.want)
			}
		})
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "127.0.0.1:80-90:80-90/udp", "[::1]::80", "0-1:2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := netd.ParsePorts(s)
		if (err == nil) != (len(ports) > 0) {
			t.Fatalf("ParsePorts(%q): %d ports and %v", s, len(ports), err)
		}
		for _, p := range ports[:min(len(ports), 3)] {
			again, err := netd.ParsePorts(p.String())
			if diff := cmp.Diff([]netd.Port{p}, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
				t.Fatalf("%q gives %s, and that: %v\n%s", s, p, err, diff)
			}
		}
	})
}

func parse(t *testing.T, specs ...string) []netd.Port {
	t.Helper()
	var all []netd.Port
	for _, s := range specs {
		ports, err := netd.ParsePorts(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ports...)
	}
	return all
}

func TestOverlaps(t *testing.T) {
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"same":                           {"80:80", "80:90", true},
		"other protocol":                 {"80:80", "80:80/udp", false},
		"other port":                     {"80:80", "81:80", false},
		"everywhere claims each address": {"80:80", "10.0.0.1:80:80", true},
		"everywhere claims both":         {"80:80", "[::]:80:80", true},
		"all of a family claims its own": {"0.0.0.0:80:80", "10.0.0.1:80:80", true},
		"and not the other's":            {"0.0.0.0:80:80", "[::1]:80:80", false},
		"the two families":               {"0.0.0.0:80:80", "[::]:80:80", false},
		"different addresses":            {"10.0.0.1:80:80", "10.0.0.2:80:80", false},
	}
	for name, tt := range tests {
		a, b := parse(t, tt.a)[0], parse(t, tt.b)[0]
		if a.Overlaps(b) != tt.want || b.Overlaps(a) != tt.want {
			t.Errorf("%s: %s overlaps %s: %v and %v, want %v", name, a, b, a.Overlaps(b), b.Overlaps(a), tt.want)
		}
	}
}

func TestAssign(t *testing.T) {
	busy := func(ports ...uint16) func(netd.Port) bool {
		return func(p netd.Port) bool {
			for _, b := range ports {
				if p.HostPort == b {
					return false
				}
			}
			return true
		}
	}
	tests := map[string]struct {
		in    []string
		start uint
		free  func(netd.Port) bool
		want  string
	}{
		"given ports stay":                 {[]string{"8080:80", "53:53/udp"}, 0, busy(), "8080:80/tcp 53:53/udp"},
		"random ports begin at the start":  {[]string{"80", "81"}, 7, busy(), "49160:80/tcp 49161:81/tcp"},
		"random ports wrap":                {[]string{"80", "81"}, 16382, busy(), "65535:80/tcp 49153:81/tcp"},
		"busy ones are passed over":        {[]string{"80"}, 0, busy(49153, 49154), "49155:80/tcp"},
		"a range is gone through":          {[]string{"8000-8002:80", "8000-8002:81"}, 5, busy(8000), "8001:80/tcp 8002:81/tcp"},
		"refused: range used up":           {[]string{"8000-8001:80"}, 0, busy(8000, 8001), "! 8000-8001:80/tcp is already allocated"},
		"refused: busy":                    {[]string{"8000:80"}, 0, busy(8000), "! 8000:80/tcp is already allocated"},
		"refused: one request with itself": {[]string{"8000:80", "10.0.0.1:8000:81"}, 0, busy(), "! 10.0.0.1:8000:81/tcp is already"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ports, err := netd.Assign(parse(t, tt.in...), tt.start, tt.free)
			var got []string
			for _, p := range ports {
				got = append(got, p.String())
			}
			if want, refused := strings.CutPrefix(tt.want, "! "); refused {
				if !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), want) {
					t.Errorf("got %s, %v; want an error with %q", got, err, want)
				}
			} else if strings.Join(got, " ") != tt.want || err != nil {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}
