package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// linked is another container that one on the default network knows by --link:
// there is no name server there, so /etc/hosts and the environment tell.
type linked struct {
	alias string
	other spec.Container
	addr  netip.Addr
}

// linksOf returns the containers that connections of the default network link to.
// All of them have to run.
func (c *connection) linksOf(store *state.Store, w netd.Wiring) ([]linked, error) {
	var all []linked
	for _, conn := range w.Connections {
		if len(conn.Links) == 0 {
			continue
		}
		n, err := c.host.Network(conn.NetworkID)
		if err != nil {
			return nil, err
		}
		for _, l := range conn.Links {
			if !n.Default() {
				continue // the network's name server has them
			}
			one, err := c.link(store, n, l)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

func (c *connection) link(store *state.Store, n netd.Network, l netd.Link) (linked, error) {
	live, err := c.host.Lives().Load(l.ContainerID)
	if errors.Is(err, spec.ErrNotFound) || err == nil && !live.Running() {
		return linked{}, fmt.Errorf("cannot link to container %q as %q: it is not running: %w", l.Name, l.Alias, spec.ErrConflict)
	}
	if err != nil {
		return linked{}, err
	}
	other, err := store.Load(l.ContainerID)
	if err != nil {
		return linked{}, err
	}
	for _, e := range live.Endpoints {
		if e.NetworkID == n.ID {
			return linked{l.Alias, other, e.Addr4.Addr()}, nil
		}
	}
	return linked{}, fmt.Errorf("cannot link to container %q as %q: it is not on network %q: %w", l.Name, l.Alias, n.Name, spec.ErrConflict)
}

// hostsLine returns the line of /etc/hosts.
func (l linked) hostsLine() string {
	names := []string{l.alias, spec.ShortID(l.other.ID)}
	if l.other.Name != l.alias {
		names = append(names, l.other.Name)
	}
	return l.addr.String() + "\t" + strings.Join(names, " ") + "\n"
}

// env returns the variables that Docker sets for a link of container name.
func (l linked) env(name string) []string {
	prefix := strings.ToUpper(strings.ReplaceAll(l.alias, "-", "_"))
	env := []string{fmt.Sprintf("%s_NAME=/%s/%s", prefix, name, l.alias)}
	ports := exposed(l.other.Network)
	for i, p := range ports {
		url := fmt.Sprintf("%s://%s:%d", p.Proto, l.addr, p.ContainerPort)
		if i == 0 {
			env = append(env, prefix+"_PORT="+url)
		}
		key := fmt.Sprintf("%s_PORT_%d_%s", prefix, p.ContainerPort, strings.ToUpper(string(p.Proto)))
		env = append(env, key+"="+url, key+"_ADDR="+l.addr.String(), fmt.Sprintf("%s_PORT=%d", key, p.ContainerPort), key+"_PROTO="+string(p.Proto))
	}
	for _, kv := range l.other.Process.Env {
		if key, _, _ := strings.Cut(kv, "="); key != "HOME" && key != "PATH" {
			env = append(env, prefix+"_ENV_"+kv)
		}
	}
	return env
}

// exposed returns the ports that a container exposes or publishes, lowest first.
func exposed(n spec.Network) []spec.Port {
	var ports []spec.Port
	for _, p := range slices.Concat(n.Exposed, n.Ports) {
		p = spec.Port{Proto: p.Proto, ContainerPort: p.ContainerPort}
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, func(a, b spec.Port) int {
		if a.ContainerPort != b.ContainerPort {
			return int(a.ContainerPort) - int(b.ContainerPort)
		}
		return strings.Compare(string(a.Proto), string(b.Proto))
	})
	return ports
}

// unset returns the variables that own does not set itself.
func unset(env, own []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, key+"=") })
	})
}
