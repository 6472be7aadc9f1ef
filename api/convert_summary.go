package api

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
	"github.com/cleat-project/cleat/spec"
)

// summary is a container in a list. Mounts and networks have the form that the
// engine gives them.
type summary struct {
	ID         string `json:"Id"`
	Names      []string
	Image      string
	ImageID    string
	Command    string
	Created    int64
	Ports      []portSummary
	SizeRw     int64 `json:",omitempty"`
	SizeRootFs int64 `json:",omitempty"`
	Labels     map[string]string
	State      container.ContainerState
	Status     string
	HostConfig struct {
		NetworkMode string `json:",omitempty"`
	}
	NetworkSettings struct {
		Networks map[string]*engine.EndpointInspect
	}
	Mounts []engine.MountPoint
}

// portSummary is a port in a list. Unlike moby's type it leaves out an address that
// there is none of.
type portSummary struct {
	IP          string `json:",omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

// newSummary turns a container into its row of a list.
func newSummary(c engine.Summary, now time.Time) summary {
	s := summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: listing.ShortImage(c.Image), ImageID: c.Image.ID,
		Command: listing.CommandText(c.Process.Argv()), Created: c.Created.Unix(), Ports: []portSummary{}, Labels: c.Labels,
		State: container.ContainerState(dockerStatus(c.Status)), Status: listing.StatusText(c.Container, now), Mounts: c.Mounts,
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.HostConfig.NetworkMode, s.NetworkSettings.Networks = c.Network.Mode, c.Networks
	for _, p := range c.Ports {
		s.Ports = append(s.Ports, summarizePort(p))
	}
	return s
}

func summarizePort(p spec.Port) portSummary {
	out := portSummary{PrivatePort: p.ContainerPort, PublicPort: p.HostPort, Type: string(p.Proto)}
	if p.HostPort != 0 {
		out.IP = p.HostIP.String()
		if !p.HostIP.IsValid() {
			out.IP = netip.IPv4Unspecified().String()
		}
	}
	return out
}
