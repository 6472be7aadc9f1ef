package opts

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ExtraHost parses --add-host: NAME:ADDRESS or NAME=ADDRESS, the address of
// IPv6 also in brackets, or the word host-gateway. The result is NAME:ADDRESS.
func ExtraHost(s string) (string, error) {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		name, addr, ok = strings.Cut(s, ":")
	}
	if !ok || name == "" || addr == "" {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if addr == "host-gateway" {
		return name + ":" + addr, nil
	}
	if len(addr) > 2 && addr[0] == '[' && addr[len(addr)-1] == ']' {
		addr = addr[1 : len(addr)-1]
	}
	if _, err := netip.ParseAddr(addr); err != nil {
		return "", fmt.Errorf("invalid IP address in add-host: %q", addr)
	}
	return name + ":" + addr, nil
}

// DNS parses --dns: the address of a name server.
func DNS(s string) (string, error) {
	addr, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", s)
	}
	return addr.String(), nil
}

// DNSSearch parses --dns-search: a domain, or "." for none.
func DNSSearch(s string) (string, error) {
	domain := strings.Trim(s, " ")
	if domain == "." {
		return domain, nil
	}
	if domain == "" || len(domain) > 255 || strings.ContainsAny(domain, " \t\r\n\v\f;#") {
		return "", fmt.Errorf("%s is not a valid domain", s)
	}
	return domain, nil
}

// PIDMode parses --pid.
func PIDMode(s string) (string, error) {
	if s == "" || s == "host" || namesContainer(s) {
		return s, nil
	}
	return "", errors.New("--pid: invalid PID mode")
}

// UTSMode parses --uts.
func UTSMode(s string) (string, error) {
	if s == "" || s == "host" {
		return s, nil
	}
	return "", errors.New("--uts: invalid UTS mode")
}

// CgroupnsMode parses --cgroupns; "private" is the default.
func CgroupnsMode(s string) (string, error) {
	switch s {
	case "", "private":
		return "", nil
	case "host":
		return s, nil
	}
	return "", errors.New("--cgroupns: invalid CGROUP mode")
}

// IPCMode parses --ipc; "private" is the default.
func IPCMode(s string) (string, error) {
	switch {
	case s == "" || s == "private":
		return "", nil
	case s == "host" || s == "none" || s == "shareable" || namesContainer(s):
		return s, nil
	}
	return "", fmt.Errorf("invalid IPC mode: %s", s)
}

func namesContainer(s string) bool {
	name, ok := strings.CutPrefix(s, "container:")
	return ok && name != ""
}
