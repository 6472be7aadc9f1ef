package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/config"
)

func with(change func(*config.Config)) config.Config {
	c := config.Default()
	change(&c)
	return c
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		in   string
		want config.Config
	}{
		"empty is the default":     {"", config.Default()},
		"comments are the default": {"# nothing\n", config.Default()},
		"what is not given stays":  {"pull: {downloads: 3}\n", with(func(c *config.Config) { c.Pull.Downloads = 3 })},
		"network":                  {"default_network: bridge\n", with(func(c *config.Config) { c.DefaultNetwork = "bridge" })},
		"log tag":                  {"log:\n  tag: '{{.Name}}'\n", with(func(c *config.Config) { c.Log.Tag = "{{.Name}}" })},
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
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ in, says string }{
		"unknown key with its line":    {"pull:\n  downloads: 3\nnetwrk: x\n", "line 3: field netwrk not found"},
		"unknown key below a registry": {"registries:\n  a.io:\n    http: true\n", "line 3: field http not found"},
		"wrong type with its line":     {"pull:\n  downloads: many\n", "line 2"},
		"key given twice":              {"default_network: none\ndefault_network: host\n", "already"},
		"no YAML":                      {"\t{", "yaml"},
		"second document":              {"pull: {downloads: 2}\n---\npull: {downloads: 3}\n", "more than one YAML document"},
		"unknown network":              {"default_network: macvlan\n", `default_network is "macvlan"`},
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
	if c, err := config.Load(path); err != nil || !cmp.Equal(c, config.Default()) {
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
