package spec

import "net/netip"

// Network says how a container is connected.
type Network struct {
	Mode      string     // "none", "host", "container:<id>", or the name of the first network as the user gave it
	Endpoints []Endpoint `json:",omitempty"` // the networks it is on, in the order of connecting; none in the other modes

	Ports      []Port `json:",omitempty"` // published; a host port that is left open is chosen at each start
	PublishAll bool   `json:",omitempty"` // publish every port of Exposed on a port that is chosen
	Exposed    []Port `json:",omitempty"` // what the image and --expose say: protocol and port in the container alone

	ExtraHosts []string `json:",omitempty"` // NAME:ADDRESS lines for /etc/hosts
	DNS        []string `json:",omitempty"` // name servers, instead of the host's
	DNSSearch  []string `json:",omitempty"`
	DNSOptions []string `json:",omitempty"`
}

// Endpoint is what the user asked of one connection to a network.
type Endpoint struct {
	NetworkID string            // 64 hex digits
	Network   string            // the network's name
	Index     int               // of the interface: the 2 in eth2
	IPv4      netip.Addr        `json:",omitzero"`  // --ip: this address or none
	IPv6      netip.Addr        `json:",omitzero"`  // --ip6
	MAC       string            `json:",omitempty"` // "02:42:ac:11:00:02"; "" means one that follows from the address
	Aliases   []string          `json:",omitempty"` // further names in the network's DNS
	Links     []Link            `json:",omitempty"` // other containers by a name of this one's choice
	Priority  int               `json:",omitempty"` // the default route is by the network with the highest; 0 is normal
	Options   map[string]string `json:",omitempty"` // --driver-opt, as given
}

// Link is another container of the network and the name by which this one
// knows it.
type Link struct {
	ContainerID string
	Name        string // of the container
	Alias       string
}
