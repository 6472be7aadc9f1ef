package engine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// NetworkConnect connects a container to a further network: at once if it runs,
// else from its next start on. The name in r is not looked at.
func (e *Engine) NetworkConnect(ctx context.Context, network, container string, r NetworkRequest) error {
	r.Name = network
	c, err := e.state.Find(container)
	if err != nil {
		return err
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error {
		if err := checkConnectable(c, network); err != nil {
			return err
		}
		next := c
		next.Network.Endpoints = slices.Clone(c.Network.Endpoints)
		if err := e.addEndpoint(ctx, &next, r); err != nil {
			return err
		}
		if err := e.reconnect(ctx, c, next); err != nil {
			return err
		}
		added := next.Network.Endpoints[len(next.Network.Endpoints)-1]
		e.tellConnection("connect", c.ID, added)
		return nil
	})
}

// checkConnectable returns an error unless c can be on the named network beside
// its others.
func checkConnectable(c spec.Container, network string) error {
	switch mode := c.Network.Mode; {
	case isPseudo(network):
		return conflict("container %q cannot be connected to or disconnected from network %s: that is chosen when it is created", c.Name, network)
	case mode == hostNetwork || strings.HasPrefix(mode, "container:"):
		return conflict("container %q shares the network of the host or of another container and cannot be connected to any other network", c.Name)
	case mode == noNetwork:
		return conflict("container %q was created with --network none and cannot be connected to any other network", c.Name)
	}
	return nil
}

// NetworkDisconnectOptions says how to disconnect a container.
type NetworkDisconnectOptions struct {
	// Force takes the container off the network's record even if the devices of
	// its run cannot be removed; they go when it ends.
	Force bool
}

// NetworkDisconnect takes a container off a network: at once if it runs, else from
// its next start on.
func (e *Engine) NetworkDisconnect(ctx context.Context, network, container string, opt NetworkDisconnectOptions) error {
	c, err := e.state.Find(container)
	if err != nil {
		return err
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error {
		if isPseudo(network) {
			return checkConnectable(c, network)
		}
		i, err := e.findEndpoint(ctx, c, network)
		if err != nil {
			return err
		}
		next := c
		next.Network.Endpoints = slices.Delete(slices.Clone(c.Network.Endpoints), i, i+1)
		if err := e.checkStillActivated(next); err != nil {
			return err
		}
		err = e.reconnect(ctx, c, next)
		if err == nil {
			e.tellConnection("disconnect", c.ID, c.Network.Endpoints[i])
		}
		if err == nil || !opt.Force {
			return err
		}
		e.warnf("%v, ignoring", err)
		if err := e.state.Update(next); err != nil {
			return err
		}
		return e.rewire(ctx, next)
	})
}

// findEndpoint returns the place of a container's connection to the network that
// ref names. The network may be gone already.
func (e *Engine) findEndpoint(ctx context.Context, c spec.Container, ref string) (int, error) {
	is := func(ep spec.Endpoint) bool { return ep.Network == ref || ep.NetworkID == ref }
	n, err := e.findNetwork(ctx, ref)
	if err == nil {
		is = func(ep spec.Endpoint) bool { return ep.NetworkID == n.ID }
	}
	i := slices.IndexFunc(c.Network.Endpoints, is)
	if i < 0 && err == nil {
		err = conflict("container %q is not connected to network %s", c.Name, n.Name)
	}
	if i >= 0 {
		err = nil
	}
	return i, err
}

// checkNetworksOf returns an error if a network of c is gone. The start helper would
// find out too, but knows only its id.
func (e *Engine) checkNetworksOf(c spec.Container) error {
	for _, ep := range c.Network.Endpoints {
		if _, err := e.network(ep.NetworkID); isNotFound(err) {
			return fmt.Errorf("network %q not found, on which container %q is to be: take it off with 'cleat network disconnect %s %s': %w", ep.Network, c.Name, ep.Network, c.Name, spec.ErrNotFound)
		}
	}
	return nil
}

// reconnect brings container c, whose lock is held, to the networks of next. If
// cleat is killed in the middle, whoever locks the container next goes on.
func (e *Engine) reconnect(ctx context.Context, c, next spec.Container) (err error) {
	if err := e.state.MarkUnsettled(c.ID); err != nil {
		return err
	}
	var u undo.Stack
	defer u.OnError(ctx, &err)
	u.Push("restore container", func(ctx context.Context) error {
		if err := e.state.Update(c); err != nil {
			return err
		}
		if err := e.rewire(ctx, c); err != nil {
			return err
		}
		return e.state.MarkSettled(c.ID)
	})
	if err := e.state.Update(next); err != nil {
		return err
	}
	if err := e.settleNetworks(ctx, next); err != nil {
		return err
	}
	if !hasUnitFiles(next) {
		return e.state.MarkSettled(c.ID)
	}
	st, err := e.status(ctx, next)
	if err != nil {
		return err
	}
	_, err = e.settle(ctx, next, isUpStatus(st), []unitgen.Property{}) // its unit files say what it needs of the networks
	return err
}

// settleNetworks brings the run of c, if there is one, and what its next start
// reads to the networks of its record.
func (e *Engine) settleNetworks(ctx context.Context, c spec.Container) error {
	ran, err := e.settleLive(ctx, c)
	if err != nil {
		return err
	}
	if err := e.rewire(ctx, c); err != nil || ran {
		return err
	}
	_, err = e.settleLive(ctx, c) // systemd may have started it meanwhile, with the old wiring
	return err
}

// settleLive brings the run of c to the networks of its record, and reports whether
// there is one.
func (e *Engine) settleLive(ctx context.Context, c spec.Container) (bool, error) {
	live, err := e.state.LoadLive(c.ID)
	if isNotFound(err) || err == nil && !onNetworks(c.Network.Mode) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = e.rewireLive(ctx, c, live.PID)
	if isNotFound(err) { // it has just ended
		return false, nil
	}
	return true, err
}

// The files of a container that are mounted in its /etc and that its networks
// have a part in.
const (
	hostsFile  = "hosts"
	resolvFile = "resolv.conf"
)

// rewire makes the files by which the next start of c connects it follow the
// record of c, and the names by which others find it now. The files that a run has
// mounted are left alone: a new one would not be seen there, see rewireLive. The
// caller holds the lock of c.
func (e *Engine) rewire(ctx context.Context, c spec.Container) error {
	files, err := e.networkFiles(ctx, c)
	if err != nil {
		return err
	}
	if err := e.keepPorts(c.ID, files); err != nil {
		return err
	}
	if _, err := e.state.LoadLive(c.ID); err == nil {
		delete(files, hostsFile)
		delete(files, resolvFile)
	} else if !isNotFound(err) {
		return err
	}
	if err := e.state.SaveFiles(c.ID, files); err != nil {
		return err
	}
	if !isWired(c) {
		if err := e.state.RemoveFile(c.ID, netd.WiringFile); err != nil {
			return err
		}
	}
	return e.wires().Rename(ctx, c.ID, dnsNames(c))
}

// keepPorts gives the ports in a new wiring file the ports on the host that were
// chosen at the last start: systemd may start the container again by itself.
func (e *Engine) keepPorts(id string, files map[string][]byte) error {
	old, err := netd.LoadWiring(e.state.Dir(id))
	if isNotFound(err) || files[netd.WiringFile] == nil {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := netd.ParseWiring(files[netd.WiringFile])
	if err != nil {
		return err
	}
	same := func(p, q spec.Port) bool { return p.Proto == q.Proto && p.ContainerPort == q.ContainerPort }
	if !slices.EqualFunc(old.Ports, w.Ports, same) {
		return nil
	}
	for i := range w.Ports {
		w.Ports[i].HostPort, w.Ports[i].HostPortLast = old.Ports[i].HostPort, old.Ports[i].HostPortLast
	}
	files[netd.WiringFile], err = w.Encode()
	return err
}

// chosenPorts returns the ports of c for its unit files: those of its last start if
// that has chosen, else new ones.
func (e *Engine) chosenPorts(c spec.Container) ([]spec.Port, error) {
	w, err := netd.LoadWiring(e.state.Dir(c.ID))
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	open := func(p spec.Port) bool { return p.HostPort == 0 || p.HostPortLast != 0 }
	if !publishes(c) || len(w.Ports) == 0 || slices.ContainsFunc(w.Ports, open) {
		return e.choosePorts(c)
	}
	return w.Ports, nil
}

// rewireLive brings the run of c whose payload is process pid to c's networks. Its
// files in /etc are written in place, since the container has them mounted; what
// it has added to them itself stays.
func (e *Engine) rewireLive(ctx context.Context, c spec.Container, pid int) error {
	w, err := e.wiring(c)
	if err != nil {
		return err
	}
	if w.Resolver {
		if err := e.ensureResolver(ctx); err != nil {
			return err
		}
	}
	ns, err := wire.Namespace(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	cgroup, err := unitCgroup(pid, c.UnitName())
	if err != nil {
		return err
	}
	before, now, err := e.wires().Rewire(ctx, w, wire.Target{ID: c.ID, Cgroup: cgroup, Namespace: int(ns.Fd())})
	if err != nil {
		return err
	}
	if len(now.Ports) == 0 && len(w.Ports) > 0 {
		e.warnf("the ports of container %q are published from its next start on", c.Name)
	}
	dir := e.state.Dir(c.ID)
	if err := editHosts(filepath.Join(dir, hostsFile), w.Hostname, addresses(before), addresses(now)); err != nil {
		return err
	}
	old, err := netd.LoadWiring(dir)
	if err != nil && !isNotFound(err) {
		return err
	}
	if old.Resolver == w.Resolver {
		return nil
	}
	files, err := e.networkFiles(ctx, c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, resolvFile), files[resolvFile], 0o644)
}

// unitCgroup returns the control group of a unit, one of whose processes is pid,
// below the root of cgroup2. If it is another's process by now, the container has
// just ended.
func unitCgroup(pid int, unit string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, spec.ErrNotFound)
	}
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if before, _, found := strings.Cut(path+"/", "/"+unit+"/"); ok && found {
			return before + "/" + unit, nil
		}
	}
	return "", fmt.Errorf("process %d is not of unit %s: %w", pid, unit, spec.ErrNotFound)
}

func addresses(l netd.Live) []netip.Addr {
	var all []netip.Addr
	for _, ep := range l.Endpoints {
		for _, p := range []netip.Prefix{ep.Addr4, ep.Addr6} {
			if p.IsValid() {
				all = append(all, p.Addr())
			}
		}
	}
	return all
}

// maxHosts bounds the file that editHosts reads: the container can write to it.
const maxHosts = 1 << 20

// editHosts changes the lines of a container's own addresses in its /etc/hosts.
func editHosts(path, hostname string, before, now []netip.Addr) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxHosts {
		return conflict("/etc/hosts of the container has %d bytes: it is not edited", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := func(a netip.Addr) string { return a.String() + "\t" + hostname + "\n" }
	lines := strings.SplitAfter(string(data), "\n")
	for _, a := range before {
		if !slices.Contains(now, a) {
			lines = slices.DeleteFunc(lines, func(l string) bool { return l == line(a) })
		}
	}
	text := strings.Join(lines, "")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for _, a := range now {
		if !slices.Contains(lines, line(a)) {
			text += line(a)
		}
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
