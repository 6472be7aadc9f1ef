package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// networkFlags say which networks the container is on, and which of its ports are
// published.
type networkFlags struct {
	networks        *opts.List[engine.NetworkRequest]
	ip, ip6         *opts.One[netip.Addr]
	mac             string
	aliases, links  *opts.List[string]
	publish, expose *opts.List[[]spec.Port]
	publishAll      bool
	activate        *opts.One[spec.ActivationMode]
	idle            *opts.One[time.Duration]
}

func (f *networkFlags) define(fs *pflag.FlagSet) {
	f.networks = opts.NewList("network", opts.Endpoint)
	fs.Var(f.networks, "network", "Connect a container to a network")
	fs.Var(f.networks, "net", "Connect a container to a network")
	f.ip, f.ip6 = opts.NewOne("string", opts.IPv4), opts.NewOne("string", opts.IPv6)
	fs.Var(f.ip, "ip", "IPv4 address (e.g., 172.30.100.104)")
	fs.Var(f.ip6, "ip6", "IPv6 address (e.g., 2001:db8::33)")
	fs.StringVar(&f.mac, "mac-address", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")
	f.aliases = opts.NewList("", opts.Alias)
	fs.Var(f.aliases, "network-alias", "Add network-scoped alias for the container")
	fs.Var(f.aliases, "net-alias", "Add network-scoped alias for the container")
	f.links = opts.NewList("", opts.Link)
	fs.Var(f.links, "link", "Add link to another container")
	f.publish = opts.NewList("", engine.ParsePublish)
	fs.VarP(f.publish, "publish", "p", "Publish a container's port(s) to the host")
	fs.BoolVarP(&f.publishAll, "publish-all", "P", false, "Publish all exposed ports to random ports")
	f.expose = opts.NewList("", engine.ParseExpose)
	fs.Var(f.expose, "expose", "Expose a port or a range of ports")
	f.activate = opts.NewOne("string", opts.Activation)
	fs.Var(f.activate, "activate", `Start the container on the first connection to a published port: "fd" hands it the sockets, "proxy" is for any image`)
	f.idle = opts.NewOne("duration", opts.IdleTimeout)
	fs.Var(f.idle, "idle-timeout", "With --activate proxy: stop the container when it has had no connection for so long (10m)")
	refuse(fs, []refusedFlag{{name: "link-local-ip", reason: opts.NoLinkLocal}})
	for _, old := range []string{"net", "net-alias"} {
		_ = fs.MarkHidden(old) // both are defined above
	}
}

// requests returns what is asked of each network. The flags without a network's
// name are about the first one, as in Docker.
func (f *networkFlags) requests() ([]engine.NetworkRequest, error) {
	all := slices.Clone(f.networks.Values)
	for i, r := range all {
		if slices.ContainsFunc(all[:i], func(q engine.NetworkRequest) bool { return q.Name == r.Name }) {
			return nil, fmt.Errorf("network %q is specified multiple times", r.Name)
		}
	}
	alone := f.ip.Value.IsValid() || f.ip6.Value.IsValid() || f.mac != "" || len(f.aliases.Values)+len(f.links.Values) > 0
	if !alone {
		return all, nil
	}
	if len(all) == 0 {
		all = []engine.NetworkRequest{{}}
	}
	return all, f.addTo(&all[0])
}

// addTo adds the flags that are about the first network.
func (f *networkFlags) addTo(r *engine.NetworkRequest) error {
	switch {
	case len(f.aliases.Values) > 0 && len(r.Aliases) > 0:
		return errors.New("conflicting options: cannot specify both --network-alias and per-network alias")
	case f.ip.Value.IsValid() && r.IPv4.IsValid():
		return errors.New("conflicting options: cannot specify both --ip and per-network IPv4 address")
	case f.ip6.Value.IsValid() && r.IPv6.IsValid():
		return errors.New("conflicting options: cannot specify both --ip6 and per-network IPv6 address")
	case f.mac != "" && r.MAC != "":
		return errors.New("conflicting options: cannot specify both --mac-address and per-network MAC address")
	}
	r.Aliases = append(slices.Clone(r.Aliases), f.aliases.Values...)
	r.Links = f.links.Values
	if f.ip.Value.IsValid() {
		r.IPv4 = f.ip.Value
	}
	if f.ip6.Value.IsValid() {
		r.IPv6 = f.ip6.Value
	}
	if f.mac != "" {
		r.MAC = f.mac
	}
	return nil
}
