package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// wires returns what containers are connected to.
func wires(store *state.Store) wire.Host {
	return wire.Host{RunRoot: store.RunRoot(), Network: func(id string) (n netd.Network, err error) {
		err = store.LoadNetwork(id, &n)
		return n, err
	}}
}

// connection is the networks of a container that is being started.
type connection struct {
	host wire.Host
	live netd.Live
	env  []string // what --link tells the payload
}

// prepareNetwork takes the addresses of the container of plan p and writes its
// /etc/hosts. For a container that is on no network it returns nil.
func prepareNetwork(ctx context.Context, store *state.Store, p plan.Plan) (*connection, error) {
	id := p.Annex.ID
	w, err := netd.LoadWiring(store.Dir(id))
	if errors.Is(err, spec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cgroup, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	c := &connection{host: wires(store)}
	if c.live, err = c.host.Prepare(ctx, w, id, cgroup); err != nil {
		return nil, err
	}
	links, err := c.linksOf(store, w)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		c.env = append(c.env, unset(l.env(p.Annex.Name), p.Config.Process.Env)...)
	}
	return c, c.writeHosts(store.Dir(id), w, links)
}

// plug connects the network namespace of process pid.
func (c *connection) plug(ctx context.Context, pid int) error {
	ns, err := wire.Namespace(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	return c.host.Plug(ctx, c.live, int(ns.Fd()))
}

// writeHosts writes /etc/hosts of a container in directory dir. It is not
// replaced but overwritten, because containers mount it.
func (c *connection) writeHosts(dir string, w netd.Wiring, links []linked) error {
	b := []byte(w.Hosts)
	for _, l := range links {
		b = append(b, l.hostsLine()...)
	}
	for _, e := range c.live.Endpoints {
		for _, p := range []netip.Prefix{e.Addr4, e.Addr6} {
			if p.IsValid() {
				b = fmt.Appendf(b, "%s\t%s\n", p.Addr(), w.Hostname)
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "hosts"), b, 0o644)
}

// releaseNetwork gives back what a run had of its networks.
func releaseNetwork(ctx context.Context, store *state.Store, id string, autoRemove bool) error {
	keep := wire.KeepAddresses
	if autoRemove {
		keep = wire.KeepNothing
	}
	return wires(store).Release(ctx, id, keep)
}

// ownCgroup returns the control group of this process, below the root of
// cgroup2. That is the unit's.
func ownCgroup() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find control group: %w", err)
	}
	for line := range strings.Lines(string(self)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			// Where cgroups are delegated, commands that systemd runs beside the
			// main one are in a group of their own.
			return strings.TrimSuffix(path, "/.control"), nil
		}
	}
	return "", fmt.Errorf("find control group: not in cgroup2: %w", spec.ErrUnsupport)
}
