package profile

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// hostsHead is how /etc/hosts begins in Docker's containers.
const hostsHead = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// Hosts returns /etc/hosts of a container with a network of its own: Docker's
// head, the user's --add-host lines, and the container's hostname for each of
// its addresses.
func Hosts(c spec.Container, hostname string, addresses ...netip.Addr) ([]byte, error) {
	return hosts(hostsHead, c, hostname, addresses)
}

// HostsOnHost returns /etc/hosts of a container in the host's network: the
// host's own, given as text, and the user's --add-host lines.
func HostsOnHost(host string, c spec.Container) ([]byte, error) {
	if host != "" && !strings.HasSuffix(host, "\n") {
		host += "\n"
	}
	return hosts(host, c, "", nil)
}

func hosts(head string, c spec.Container, hostname string, addresses []netip.Addr) ([]byte, error) {
	b := bytes.NewBufferString(head)
	for _, line := range c.Network.ExtraHosts {
		name, addr, err := parseExtraHost(line)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(b, "%s\t%s\n", addr, name)
	}
	if c.Domainname != "" {
		hostname = hostname + "." + c.Domainname + " " + hostname
	}
	for _, addr := range addresses {
		fmt.Fprintf(b, "%s\t%s\n", addr, hostname)
	}
	return b.Bytes(), nil
}

// HostGateway stands for the address of the host in --add-host. Who calls Hosts
// has put the address in its place.
const HostGateway = "host-gateway"

// parseExtraHost reads NAME:ADDRESS or NAME=ADDRESS; an IPv6 address may be in
// brackets.
func parseExtraHost(line string) (name string, addr netip.Addr, err error) {
	i := strings.IndexAny(line, ":=")
	if i < 1 || !plainWord(line[:i]) {
		return "", netip.Addr{}, fmt.Errorf("extra host %q is not NAME:ADDRESS: %w", line, spec.ErrInvalid)
	}
	text := line[i+1:]
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	if addr, err = netip.ParseAddr(text); err != nil {
		return "", netip.Addr{}, fmt.Errorf("extra host %q: %w: %w", line, err, spec.ErrInvalid)
	}
	return line[:i], addr, nil
}

// plainWord reports whether s can be one word of a file below /etc.
func plainWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '#' || r == 0x7f })
}

// ResolvConf returns /etc/resolv.conf of a container, given the host's. What
// the user set replaces the host's settings of that kind. In a network of its
// own a container cannot reach the host's loopback, so name servers there are
// left out. Unlike Docker, cleat does not put a public server in their place:
// names inside should not leave the machine unasked.
//
// See resolv.conf(5). Values that are more than one word are left out; Build
// refuses them.
func ResolvConf(host string, n spec.Network) []byte {
	keep := func(line string) bool { return isHost(n.Mode) || !loopbackServer(line) }
	if len(n.DNS)+len(n.DNSSearch)+len(n.DNSOptions) == 0 {
		var b bytes.Buffer
		for line := range strings.Lines(host) {
			if keep(line) {
				b.WriteString(line)
			}
		}
		return b.Bytes()
	}
	servers := settings(host, "nameserver", keep)
	if len(n.DNS) > 0 {
		servers = words(n.DNS)
	}
	return resolvConf(servers, searchList(host, n), optionList(host, n))
}

// resolver is where the name server of user-defined networks answers, in the
// container's own network namespace.
const resolver = "127.0.0.11"

// ResolverConf is ResolvConf for a container on a network where names of
// containers are looked up: by a server of cleat's, which asks the others.
func ResolverConf(host string, n spec.Network) []byte {
	options := optionList(host, n)
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
		options = append(options, "ndots:0")
	}
	return resolvConf([]string{resolver}, searchList(host, n), options)
}

func anyLine(string) bool { return true }

func searchList(host string, n spec.Network) []string {
	if len(n.DNSSearch) > 0 {
		return slices.DeleteFunc(words(n.DNSSearch), func(s string) bool { return s == "." })
	}
	return settings(host, "search", anyLine)
}

func optionList(host string, n spec.Network) []string {
	if len(n.DNSOptions) > 0 {
		return words(n.DNSOptions)
	}
	return settings(host, "options", anyLine)
}

func resolvConf(servers, search, options []string) []byte {
	var b bytes.Buffer
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

func words(in []string) []string {
	return slices.DeleteFunc(slices.Clone(in), func(s string) bool { return !plainWord(s) })
}

// settings returns the words of the lines that begin with key. Of several
// search lines the last one holds.
func settings(text, key string, keep func(string) bool) (out []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != key || !keep(line) {
			continue
		}
		if key == "search" {
			out = nil
		}
		if key == "nameserver" {
			fields = fields[:2]
		}
		out = append(out, fields[1:]...)
	}
	return out
}

func loopbackServer(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "nameserver" {
		return false
	}
	addr, err := netip.ParseAddr(fields[1])
	return err == nil && addr.IsLoopback()
}

// checkNetwork refuses settings that would be more than one word in a file.
func checkNetwork(n spec.Network) error {
	for _, s := range n.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("name server %q: %w: %w", s, err, spec.ErrInvalid)
		}
	}
	for _, s := range slices.Concat(n.DNSSearch, n.DNSOptions) {
		if !plainWord(s) {
			return fmt.Errorf("DNS setting %q: %w", s, spec.ErrInvalid)
		}
	}
	for _, line := range n.ExtraHosts {
		if before, ok := strings.CutSuffix(line, HostGateway); ok {
			line = before + "0.0.0.0" // whatever it will be
		}
		if _, _, err := parseExtraHost(line); err != nil {
			return err
		}
	}
	return nil
}
