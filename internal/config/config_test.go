package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/internal/config"
)

func with(change func(*config.Config)) config.Config {
	c := config.Default()
	change(&c)
	return c
}

// addresses are compared as values.
var addresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestParse(t *testing.T) {
	tests := map[string]struct {
		in   string
		want config.Config
	}{
		"empty is the default":     {"", config.Default()},
		"comments are the default": {"# nothing\n", config.Default()},
		"what is not given stays":  {"pull: {downloads: 3}\n", with(func(c *config.Config) { c.Pull.Downloads = 3 })},
		"network":                  {"default_network: bridge\n", with(func(c *config.Config) { c.DefaultNetwork = "bridge" })},
		"publish address": {"default_publish_address: 127.0.0.1\n", with(func(c *config.Config) {
			c.DefaultPublishAddress, c.PublishAddress = "127.0.0.1", netip.MustParseAddr("127.0.0.1")
		})},
		"no publish address": {"default_publish_address: ''\n", config.Default()},
		"address pools": {"address_pools:\n- {base: 10.128.0.0/9, size: 24}\n- {base: 192.168.0.0/16, size: 16}\n", with(func(c *config.Config) {
			c.AddressPools = []config.AddressPool{
				{Base: "10.128.0.0/9", Size: 24, Prefix: netip.MustParsePrefix("10.128.0.0/9")},
				{Base: "192.168.0.0/16", Size: 16, Prefix: netip.MustParsePrefix("192.168.0.0/16")},
			}
		})},
		"log tag": {"log:\n  tag: '{{.Name}}'\n", with(func(c *config.Config) { c.Log.Tag = "{{.Name}}" })},
		"registries with all settings": {"registries:\n  docker.io:\n    mirrors: [m1, 'm2:5000', '[::1]:5000']\n  10.0.0.7:5000: {plain_http: true, insecure: true}\n", with(func(c *config.Config) {
			c.Registries = map[string]config.Registry{"docker.io": {Mirrors: []string{"m1", "m2:5000", "[::1]:5000"}}, "10.0.0.7:5000": {PlainHTTP: true, Insecure: true}}
		})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, addresses); diff != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ in, says string }{
		"unknown key with its line":    {"pull:\n  downloads: 3\nnetwrk: x\n", "line 3: unknown key \"netwrk\""},
		"unknown key below a registry": {"registries:\n  a.io:\n    http: true\n", "line 3: unknown key \"http\""},
		"wrong type with its line":     {"pull:\n  downloads: many\n", "line 2"},
		"key given twice":              {"default_network: none\ndefault_network: host\n", "already"},
		"no YAML":                      {"\t{", "yaml"},
		"second document":              {"pull: {downloads: 2}\n---\npull: {downloads: 3}\n", "more than one YAML document"},
		"unknown network":              {"default_network: macvlan\n", `default_network is "macvlan"`},
		"publish address is a name":    {"default_publish_address: localhost\n", `default_publish_address is "localhost", want an address`},
		"publish address has a zone":   {"default_publish_address: 'fe80::1%eth0'\n", "want an address of this host"},
		"pool is no prefix":            {"address_pools:\n- {base: 10.0.0.0, size: 24}\n", `base is "10.0.0.0", want an IPv4 prefix`},
		"pool has host bits":           {"address_pools:\n- {base: 10.0.0.1/8, size: 24}\n", `base is "10.0.0.1/8"`},
		"pool of IPv6":                 {"address_pools:\n- {base: 'fd00::/8', size: 64}\n", "want an IPv4 prefix"},
		"pool without size":            {"address_pools:\n- {base: 10.0.0.0/8}\n", "size of 10.0.0.0/8 is 0, want 8 to 30"},
		"pool in larger parts":         {"address_pools:\n- {base: 10.0.0.0/16, size: 8}\n", "is 8, want 16 to 30"},
		"pools overlap":                {"address_pools:\n- {base: 10.0.0.0/8, size: 24}\n- {base: 10.1.0.0/16, size: 24}\n", "10.1.0.0/16 overlaps 10.0.0.0/8"},
		"pool with an unknown key":     {"address_pools:\n- {base: 10.0.0.0/8, size: 24, bits: 3}\n", "line 2: unknown key \"bits\""},
		"no downloads":                 {"pull: {downloads: 0}\n", "want 1 to 64"},
		"registry with scheme":         {"registries:\n  https://a.io: {}\n", "without https://"},
		"mirror with path":             {"registries:\n  a.io: {mirrors: [b.io/x]}\n", "b.io/x"},
		"port is a word":               {"registries:\n  'a:b': {}\n", "port is not a number"},
		"empty mirror":                 {"registries:\n  a.io: {mirrors: ['']}\n", "is not host"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := config.Parse([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Parse(%q) = %v, want %q", tt.in, err, tt.says)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cleat.yaml")
	if c, err := config.Load(path); err != nil || !cmp.Equal(c, config.Default(), addresses) {
		t.Errorf("missing file: %+v, %v", c, err)
	}
	if err := os.WriteFile(path, []byte("nosuch: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
}

// FuzzParse checks that whatever is accepted is in range.
func FuzzParse(f *testing.F) {
	f.Add([]byte("registries: {a.io: {mirrors: [b]}}\npull: {downloads: 2}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data)
		if err == nil && (c.Pull.Downloads < 1 || c.Pull.Downloads > 64 || c.DefaultNetwork == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
