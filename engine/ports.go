package engine

import (
	"net/netip"
	"slices"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// portsOf returns the ports of a container that runs: those that are published,
// one for each family of addresses, and those that are merely exposed, which have
// no port on the host.
func (e *Engine) portsOf(c spec.Container) ([]spec.Port, error) {
	if !isWired(c) {
		return nil, nil
	}
	var live netd.Live
	if publishes(c) {
		var err error
		if live, err = e.wires().Lives().Load(c.ID); err != nil && !isNotFound(err) {
			return nil, err
		}
	}
	return runningPorts(c, live), nil
}

// portsAsleep returns the ports of a container whose sockets are open although it
// does not run.
func (e *Engine) portsAsleep(c spec.Container) ([]spec.Port, error) {
	w, err := netd.LoadWiring(e.state.Dir(c.ID))
	if err != nil {
		return nil, err
	}
	return runningPorts(c, netd.Live{Ports: w.Ports}), nil
}

func runningPorts(c spec.Container, live netd.Live) []spec.Port {
	var out []spec.Port
	for _, p := range live.Ports {
		for _, b := range bindingsOf(p) {
			p.HostIP, _ = netip.ParseAddr(b.HostIP) // it was one
			out = append(out, p)
		}
	}
	for _, x := range c.Network.Exposed {
		published := func(p spec.Port) bool { return p.Proto == x.Proto && p.ContainerPort == x.ContainerPort }
		if !slices.ContainsFunc(out, published) {
			out = append(out, spec.Port{Proto: x.Proto, ContainerPort: x.ContainerPort})
		}
	}
	return out
}
