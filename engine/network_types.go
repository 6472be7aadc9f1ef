package engine

import "net/netip"

// NetworkRequest is one connection to a network that the user asks for, at the
// creation of a container or later.
type NetworkRequest struct {
	Name     string // of the network, or its id or the beginning of that; for a container also "none", "host" and "container:NAME"
	IPv4     netip.Addr
	IPv6     netip.Addr
	MAC      string
	Aliases  []string
	Links    []string // CONTAINER[:ALIAS]
	Priority int      // the default route is by the network with the highest; 0 is normal
	Options  map[string]string
}
