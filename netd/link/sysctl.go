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
	path := filepath.Join(sysctls, key)
	have, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	if strings.TrimSpace(string(have)) == value {
		return nil
	}
	return put(key, value)
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

// bridgeSysctls sets what the network needs on the host. The bridge listens to
// no router advertisements (a container could send them, CVE-2020-13401), has no
// IPv6 unless the network has (CVE-2024-32473), and lets connections to 127.0.0.1
// be translated to containers. The latter opens the bridge to packets with
// loopback addresses; the firewall drops those (see package nft).
func bridgeSysctls(n *netd.Network) error {
	if n.Subnet4() != nil && !n.Internal {
		if err := set("ipv4/ip_forward", "1"); err != nil {
			return err
		}
		if err := set("ipv4/conf/"+n.Device+"/route_localnet", "1"); err != nil {
			return err
		}
	}
	if !HasIPv6() {
		if n.Subnet6() != nil {
			return errors.New("the kernel has no IPv6")
		}
		return nil
	}
	dir := "ipv6/conf/" + n.Device
	if n.Subnet6() == nil {
		return set(dir+"/disable_ipv6", "1")
	}
	for _, s := range [][2]string{{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}} {
		if err := set(dir+"/"+s[0], s[1]); err != nil {
			return err
		}
	}
	if n.Internal {
		return nil
	}
	return forward6()
}

// forward6 turns the host into an IPv6 router. A router ignores advertisements
// of others where accept_ra is 1, so a host that has got its own route from one
// would lose it; 2 keeps it.
func forward6() error {
	const all = "ipv6/conf/all/forwarding"
	have, err := os.ReadFile(filepath.Join(sysctls, all))
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	if strings.TrimSpace(string(have)) == "1" {
		return nil
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
	return put(all, "1")
}
