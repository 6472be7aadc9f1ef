package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"time"

	"github.com/cleat-project/cleat/netd"
)

// NetworkInspect is a network in Docker's form: names, encodings and zero values
// are those of the Engine API.
type NetworkInspect struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string // "local"
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       NetworkIPAM
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom NetworkConfigFrom
	ConfigOnly bool
	Containers map[string]NetworkContainer // that run, by id
	Options    map[string]string
	Labels     map[string]string
}

// NetworkIPAM says where a network's addresses come from.
type NetworkIPAM struct {
	Driver  string
	Options map[string]string
	Config  []NetworkIPAMConfig
}

// NetworkIPAMConfig is one subnet.
type NetworkIPAMConfig struct {
	Subnet             string
	IPRange            string            `json:",omitempty"`
	Gateway            string            `json:",omitempty"`
	AuxiliaryAddresses map[string]string `json:",omitempty"`
}

// NetworkConfigFrom names the network that another one is configured by, which
// only Docker's swarm has.
type NetworkConfigFrom struct{ Network string }

// NetworkContainer is a container on a network.
type NetworkContainer struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string // with the length of the subnet
	IPv6Address string // likewise
}

// inspectNetworkOf turns n into Docker's form, without its containers.
func inspectNetworkOf(n netd.Network) NetworkInspect {
	out := NetworkInspect{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: networkScope, Driver: n.Driver,
		EnableIPv4: n.Subnet4() != nil, EnableIPv6: n.Subnet6() != nil,
		IPAM:     NetworkIPAM{Driver: "default", Options: map[string]string{}, Config: []NetworkIPAMConfig{}},
		Internal: n.Internal, Attachable: n.Attachable, Containers: map[string]NetworkContainer{},
		Options: notNil(n.Options), Labels: notNil(n.Labels),
	}
	for _, s := range n.Subnets {
		c := NetworkIPAMConfig{Subnet: s.Prefix.String(), Gateway: addrText(s.Gateway)}
		if s.Range.IsValid() {
			c.IPRange = s.Range.String()
		}
		for name, a := range s.Aux {
			if c.AuxiliaryAddresses == nil {
				c.AuxiliaryAddresses = map[string]string{}
			}
			c.AuxiliaryAddresses[name] = a.String()
		}
		out.IPAM.Config = append(out.IPAM.Config, c)
	}
	return out
}

// networkScope is that of all networks: this host.
const networkScope = "local"

// pseudo returns one of the networks that are not stored. Its id follows from
// where cleat keeps its state.
func (e *Engine) pseudo(name string) NetworkInspect {
	driver := name
	if name == noNetwork {
		driver = "null"
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "cleat network %s of %s", name, e.opt.Root))
	return NetworkInspect{
		Name: name, ID: hex.EncodeToString(sum[:]), Scope: networkScope, Driver: driver, EnableIPv4: true,
		IPAM:       NetworkIPAM{Driver: "default", Config: []NetworkIPAMConfig{}},
		Containers: map[string]NetworkContainer{}, Options: map[string]string{}, Labels: map[string]string{},
	}
}

// connected turns an endpoint of a running container into Docker's form.
func connected(name string, ep netd.Endpoint) NetworkContainer {
	c := NetworkContainer{Name: name, EndpointID: endpointID(ep)}
	if mac, err := ep.HardwareAddr(); err == nil {
		c.MacAddress = net.HardwareAddr(mac[:]).String()
	}
	if ep.Addr4.IsValid() {
		c.IPv4Address = ep.Addr4.String()
	}
	if ep.Addr6.IsValid() {
		c.IPv6Address = ep.Addr6.String()
	}
	return c
}

// notNil makes a map that is printed as {} rather than null.
func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
