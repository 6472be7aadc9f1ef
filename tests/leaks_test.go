package tests

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// things are objects of the machine that a test could leave behind.
type things map[string]bool

// groups are the control groups of the embedded hosts that the tests have
// started. Each has all processes of its host; others on the machine are not ours.
var groups = map[string]bool{}

// noteGroup adds the one of the host s, which runs.
func noteGroup(s site) error {
	for line := range strings.Lines(s.try("host", "status").out) {
		if path, ok := strings.CutPrefix(line, "Cgroup:"); ok {
			groups[strings.TrimSpace(path)] = true
			return nil
		}
	}
	return fmt.Errorf("host status tells no control group of %s", s.root)
}

// observe lists mounts, network devices, control groups, network namespaces,
// sockets, and processes of the programs under test.
func observe() things {
	seen := things{}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			seen["mount "+fields[4]] = true
		}
	}
	for kind, pattern := range map[string]string{
		"network device":    "/sys/class/net/*",
		"control group":     "/sys/fs/cgroup/unified/*",
		"network namespace": "/run/netns/*",
		"socket or file":    "/run/cleat*",
		"journal socket":    "/dev/log",
	} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if _, err := os.Stat(p); err == nil && (kind != "control group" || groups[p]) {
				seen[kind+" "+p] = true
			}
		}
	}
	// Tests of networks have namespaces of their own: the machine's is not touched.
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		value, _ := os.ReadFile("/proc/sys/net/" + key) // without IPv6 one is not there
		seen[key+" "+strings.TrimSpace(string(value))] = true
	}
	if tables, err := exec.Command("nft", "list", "tables").Output(); err == nil {
		for line := range strings.Lines(string(tables)) {
			seen["firewall "+strings.TrimSpace(line)] = true
		}
	}
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, p := range programs {
		target, err := os.Readlink(p)
		if err == nil && strings.HasPrefix(target, env.bin) {
			seen["process "+p+" "+target] = true
		}
	}
	return seen
}

// minus returns what is in t and not in before, sorted.
func (t things) minus(before things) []string {
	rest := maps.Clone(t)
	maps.DeleteFunc(rest, func(k string, _ bool) bool { return before[k] })
	return slices.Sorted(maps.Keys(rest))
}
