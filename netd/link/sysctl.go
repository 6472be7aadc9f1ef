package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/netd"
)

// sysctls is where the settings of the calling thread's network namespace are.
const sysctls = "/proc/sys/net"

// set writes a setting unless it has the value already.
func set(key, value string) error {
	if done, err := has(key, value); err != nil || done {
		return err
	}
	return put(key, value)
}

// has reports whether a setting has the value.
func has(key, value string) (bool, error) {
	have, err := os.ReadFile(filepath.Join(sysctls, key))
	if err != nil {
		return false, fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(have)) == value, nil
}

// put writes a setting.
func put(key, value string) error {
	f, err := os.OpenFile(filepath.Join(sysctls, key), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

// HasIPv6 reports whether the kernel has IPv6 at all (it may be booted with
// ipv6.disable=1).
func HasIPv6() bool {
	_, err := os.Stat(filepath.Join(sysctls, "ipv6"))
	return err == nil
}

// FiltersBridges6 reports whether what IPv6 packets pass on a bridge goes through
// the firewall of routed ones (br_netfilter): then it cannot lead [::1] to a
// container, see package nft.
func FiltersBridges6() bool {
	on, err := has("bridge/bridge-nf-call-ip6tables", "1")
	return err == nil && on
}

// bridgeSysctls sets what the network needs on the host.
func bridgeSysctls(n *netd.Network) error {
	if n.Subnet6() != nil && !HasIPv6() {
		return errors.New("the kernel has no IPv6")
	}
	for _, s := range sysctlsOf(n) {
		if err := set(s.key, s.value); err != nil {
			return err
		}
	}
	if n.Internal {
		return nil
	}
	if n.Subnet4() != nil {
		if err := forward4(); err != nil {
			return err
		}
	}
	if n.Subnet6() != nil {
		return forward6()
	}
	return nil
}

type sysctl struct{ key, value string }

// sysctlsOf returns the settings of the network's bridge. It listens to no router
// advertisements (a container could send them, CVE-2020-13401), has no IPv6
// unless the network has (CVE-2024-32473), and lets connections to 127.0.0.1 be
// translated to containers. The latter opens the bridge to packets with loopback
// addresses; the firewall drops those (see package nft).
func sysctlsOf(n *netd.Network) []sysctl {
	var all []sysctl
	if n.Subnet4() != nil && !n.Internal {
		all = append(all, sysctl{"ipv4/conf/" + n.Device + "/route_localnet", "1"})
	}
	dir := "ipv6/conf/" + n.Device
	switch {
	case !HasIPv6():
	case n.Subnet6() == nil:
		all = append(all, sysctl{dir + "/disable_ipv6", "1"})
	default:
		for _, s := range []sysctl{{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}} {
			all = append(all, sysctl{dir + "/" + s.key, s.value})
		}
	}
	return all
}

// Where the kernel says whether it forwards packets, and what cleat writes there.
// To the kernel everything but 0 means yes, so the value can say who turned it
// on: it is there exactly as long as it is true, whoever restarts, and an
// administrator or another program that writes 1 takes over.
const (
	forwarding4 = "ipv4/ip_forward"
	forwarding6 = "ipv6/conf/all/forwarding"
	forOurSake  = "2"
)

// Unrouted reports for each family whether the host forwards packets for cleat's
// sake alone. Then it is no router between its other devices, and the firewall
// has to see to it.
func Unrouted() (four, six bool, err error) {
	if four, err = has(forwarding4, forOurSake); err != nil || !HasIPv6() {
		return four, false, err
	}
	six, err = has(forwarding6, forOurSake)
	return four, six, err
}

// forward4 has the kernel forward IPv4 packets, if it does not do so already.
func forward4() error {
	if off, err := has(forwarding4, "0"); err != nil || !off {
		return err
	}
	return put(forwarding4, forOurSake)
}

// forward6 turns the host into an IPv6 router. A router ignores advertisements
// of others where accept_ra is 1, so a host that has got its own route from one
// would lose it; 2 keeps it.
func forward6() error {
	if off, err := has(forwarding6, "0"); err != nil || !off {
		return err
	}
	devices, err := os.ReadDir(filepath.Join(sysctls, "ipv6/conf"))
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	for _, d := range devices {
		if d.Name() == "all" || d.Name() == "lo" {
			continue
		}
		key := "ipv6/conf/" + d.Name() + "/accept_ra"
		ra, err := os.ReadFile(filepath.Join(sysctls, key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read sysctl: %w", err)
		}
		if strings.TrimSpace(string(ra)) != "1" {
			continue
		}
		if err := put(key, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return put(forwarding6, forOurSake)
}
