// Package config reads cleat's configuration file, /etc/cleat/cleat.yaml. A file
// that is not there means the defaults. All keys, with their defaults:
//
//	registries:                  # how single registries are spoken to; the key is host or host:port
//	  docker.io:
//	    mirrors: []              # hosts asked first, in this order; the registry itself comes last
//	  registry.lan:5000:
//	    plain_http: false        # allow plain HTTP if TLS does not answer; loopback may always
//	    insecure: false          # do not check certificates; allows plain HTTP too
//	default_network: bridge      # of containers without --network: none, host or bridge
//	default_publish_address: ""  # of -p without one, for example 127.0.0.1; "" means every address of the host
//	address_pools:               # of IPv4 subnets for networks without --subnet, in this order; none means Docker's:
//	  - base: 172.17.0.0/16      # 172.17.0.0/16 to 172.31.0.0/16 as they are, then 192.168.0.0/16 in parts of /20
//	    size: 16                 # prefix length of each network's part
//	log:
//	  tag: "{{.ID}}"             # SYSLOG_IDENTIFIER and CONTAINER_TAG of a container's log
//	pull:
//	  downloads: 6               # layers loaded at a time
//	policy: /etc/cleat/policy.yaml     # which images may be pulled and run, see Policy
//	search: https://index.docker.io    # what "cleat search" asks; the default is Docker Hub
//
// Decoding is strict: an unknown key is an error that names its line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Path is where the configuration is read from unless the user says otherwise.
const Path = "/etc/cleat/cleat.yaml"

// Config is the whole configuration. Default returns what holds without a file.
type Config struct {
	Registries     map[string]Registry `yaml:"registries"`
	DefaultNetwork string              `yaml:"default_network"` // "none", "host" or "bridge"
	AddressPools   []AddressPool       `yaml:"address_pools"`   // none means Docker's
	Log            Log                 `yaml:"log"`
	Pull           Pull                `yaml:"pull"`
	Policy         string              `yaml:"policy"` // file with the policy on images
	Search         string              `yaml:"search"` // base URL of the server that search asks

	DefaultPublishAddress string     `yaml:"default_publish_address"` // "" means all
	PublishAddress        netip.Addr `yaml:"-"`                       // the same, parsed; zero means all
}

// AddressPool is address space from which networks get their IPv4 subnets.
type AddressPool struct {
	Base string `yaml:"base"` // for example 10.128.0.0/9
	Size int    `yaml:"size"` // prefix length of each network's part, from that of Base to 30

	Prefix netip.Prefix `yaml:"-"` // Base, parsed
}

// Registry is how one registry is spoken to.
type Registry struct {
	PlainHTTP bool     `yaml:"plain_http"` // plain HTTP is allowed if TLS does not answer
	Insecure  bool     `yaml:"insecure"`   // certificates are not checked
	Mirrors   []string `yaml:"mirrors"`    // hosts, asked first
}

// Log is how container output is labelled.
type Log struct {
	Tag string `yaml:"tag"` // a Go template, as Docker's --log-opt tag=
}

// Pull is how images are pulled.
type Pull struct {
	Downloads int `yaml:"downloads"` // at a time, 1 to 64
}

// Default returns the configuration of a machine without a file.
func Default() Config {
	return Config{DefaultNetwork: "bridge", Log: Log{Tag: "{{.ID}}"}, Pull: Pull{Downloads: 6}, Policy: PolicyPath, Search: "https://index.docker.io"}
}

// Load reads the file at path. If it is not there, Load returns the defaults.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse decodes a configuration file over the defaults and checks it.
func Parse(data []byte) (Config, error) {
	c := Default()
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) { // io.EOF: empty, or comments only
		return Config{}, plain(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("more than one YAML document")
	}
	if err := c.parseAddresses(); err != nil {
		return Config{}, err
	}
	return c, c.check()
}

// parseAddresses parses and checks what is an address or a prefix.
func (c *Config) parseAddresses() error {
	if s := c.DefaultPublishAddress; s != "" {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsMulticast() {
			return fmt.Errorf("default_publish_address is %q, want an address of this host, such as 127.0.0.1", s)
		}
		c.PublishAddress = a.Unmap()
	}
	for i := range c.AddressPools {
		p := &c.AddressPools[i]
		prefix, err := netip.ParsePrefix(p.Base)
		if err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() || prefix.Addr().IsLoopback() || prefix.Addr().IsMulticast() {
			return fmt.Errorf("address_pools: base is %q, want an IPv4 prefix such as 10.128.0.0/9", p.Base)
		}
		if p.Size < prefix.Bits() || p.Size < 1 || p.Size > 30 {
			return fmt.Errorf("address_pools: size of %s is %d, want %d to 30", p.Base, p.Size, max(prefix.Bits(), 1))
		}
		for _, q := range c.AddressPools[:i] {
			if q.Prefix.Overlaps(prefix) {
				return fmt.Errorf("address_pools: %s overlaps %s", p.Base, q.Base)
			}
		}
		p.Prefix = prefix
	}
	return nil
}

// plain puts the errors of the decoder into words for people: without the types
// of this program.
func plain(err error) error {
	bad, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	texts := make([]string, 0, len(bad.Errors))
	for _, text := range bad.Errors {
		if line, name, ok := strings.Cut(text, ": field "); ok {
			name, _, _ = strings.Cut(name, " ")
			text = fmt.Sprintf("%s: unknown key %q", line, name)
		} else if before, value, ok := strings.Cut(text, ": cannot unmarshal "); ok {
			value, _, _ = strings.Cut(value, " into ")
			value = value[strings.IndexByte(value, ' ')+1:]
			text = fmt.Sprintf("%s: %s has no place here", before, strings.NewReplacer("!!seq", "a list", "!!map", "a list of keys").Replace(value))
		}
		texts = append(texts, text)
	}
	return errors.New(strings.Join(texts, "; "))
}

func (c Config) check() error {
	switch c.DefaultNetwork {
	case "none", "host", "bridge":
	default:
		return fmt.Errorf("default_network is %q, want none, host or bridge", c.DefaultNetwork)
	}
	if c.Pull.Downloads < 1 || c.Pull.Downloads > 64 {
		return fmt.Errorf("pull: downloads is %d, want 1 to 64", c.Pull.Downloads)
	}
	if !filepath.IsAbs(c.Policy) {
		return fmt.Errorf("policy is %q, want an absolute path", c.Policy)
	}
	if u, err := url.Parse(c.Search); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("search is %q, want an address such as https://index.docker.io", c.Search)
	}
	for host, r := range c.Registries {
		for _, h := range append([]string{host}, r.Mirrors...) {
			if err := checkHost(h); err != nil {
				return fmt.Errorf("registries: %s: %w", host, err)
			}
		}
	}
	return nil
}

// checkHost accepts host[:port] without a scheme or path.
func checkHost(s string) error {
	if s == "" || strings.ContainsAny(s, "/@?# \t") {
		return fmt.Errorf("%q is not host or host:port (without https:// and path)", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "443"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: port is not a number from 1 to 65535", s)
	}
	if host == "" || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return fmt.Errorf("%q is not host or host:port", s)
	}
	return nil
}
