package profile

import (
	"strings"

	"github.com/cleat-project/cleat/spec"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the payload's variables: Docker's own, then those of the
// image and the user, which replace them. Nothing of it comes from the
// environment of cleat: an entry without "=" is dropped and not looked up
// (CVE-2026-57231).
func environment(c spec.Container, h Host) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + HostnameOn(c, h)}
	if c.Process.TTY {
		env = append(env, "TERM=xterm")
	}
	at := map[string]int{}
	for i, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		at[name] = i
	}
	for _, kv := range c.Process.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			continue
		}
		if i, seen := at[name]; seen {
			env[i] = kv
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	return env
}

// Hostname returns the hostname of a container with a UTS namespace and a
// network of its own: the one it was given, else the short id.
func Hostname(c spec.Container) string {
	if c.Hostname != "" {
		return c.Hostname
	}
	return spec.ShortID(c.ID)
}

// HostnameOn returns what a container finds as its hostname on host h.
func HostnameOn(c spec.Container, h Host) string {
	if h.Hostname != "" && (isHost(c.UTSMode) || isHost(c.Network.Mode) && c.Hostname == "") {
		return h.Hostname
	}
	return Hostname(c)
}
