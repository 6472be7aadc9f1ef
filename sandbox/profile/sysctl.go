package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// ipcSysctls are the kernel parameters of an IPC namespace that do not begin
// with "fs.mqueue.".
const ipcSysctls = "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni kernel.shm_rmid_forced"

// sysctls returns the kernel parameters to set: what Docker sets so that
// programs without privileges can ping and listen on low ports in a network of
// their own, and what the user asked for. Only parameters of namespaces that
// are the container's can be set; any other would be the host's.
func sysctls(c spec.Container) (map[string]string, error) {
	out := map[string]string{}
	if networkMode(c.Network.Mode) == "private" {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		if err := checkSysctl(name, c); err != nil {
			return nil, fmt.Errorf("sysctl %q: %w: %w", name, err, spec.ErrInvalid)
		}
		out[name] = c.Sysctls[name]
	}
	return out, nil
}

func checkSysctl(name string, c spec.Container) error {
	odd := func(r rune) bool {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !alnum && !strings.ContainsRune("_-./", r)
	}
	// Dots and slashes change places on the way to a path below /proc/sys, so
	// that two of them in a row could lead upwards there.
	if strings.ContainsFunc(name, odd) || slices.Contains(strings.Split(strings.ReplaceAll(name, "/", "."), "."), "") {
		return fmt.Errorf("bad name")
	}
	switch {
	case strings.HasPrefix(name, "net."):
		if isHost(c.Network.Mode) {
			return fmt.Errorf("it would be the host's, whose network the container shares")
		}
	case strings.HasPrefix(name, "fs.mqueue."), slices.Contains(strings.Fields(ipcSysctls), name):
		if isHost(c.IPCMode) {
			return fmt.Errorf("it would be the host's, whose IPC the container shares")
		}
	default:
		return fmt.Errorf("not a parameter of a container")
	}
	return nil
}
