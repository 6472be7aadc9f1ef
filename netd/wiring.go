package netd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/spec"
)

// WiringFile is the name of the wiring's file in a container's directory. A
// container that is on no network has none.
const WiringFile = "network.json"

// wiringVersion is that of the wiring's format.
const wiringVersion = 1

// Wiring is what the start of a container needs to know of its networks. It is
// made when the container is created or connected, and when its ports are chosen.
type Wiring struct {
	Version     int          `json:"version"`
	Table       string       `json:"table"` // of the firewall
	Connections []Connection `json:"connections"`
	Ports       []Port       `json:"ports,omitempty"`     // published, with their ports on the host
	Activated   bool         `json:"activated,omitempty"` // connections to Ports start the container: see Live.Led

	Hostname string `json:"hostname"` // and its longer form: what a line of /etc/hosts has after the address
	Hosts    string `json:"hosts"`    // /etc/hosts but for the container's own addresses

	Resolver bool         `json:"resolver,omitempty"` // names are looked up at cleat-netd, by way of 127.0.0.11
	Names    []string     `json:"names,omitempty"`    // by which the others know the container, on all its networks
	DNS      []netip.Addr `json:"dns,omitempty"`      // --dns: asked for what no container has; none: the host's
}

// Connection is a container's place in one network.
type Connection struct {
	NetworkID  string     `json:"network"`
	Attachment Attachment `json:"attachment"`
	Links      []Link     `json:"links,omitempty"`
}

// Link is another container under a name of the container's own choice.
type Link struct {
	ContainerID string `json:"container"`
	Name        string `json:"name"` // of the container
	Alias       string `json:"alias"`
}

// LoadWiring reads the wiring in dir, a container's directory. That there is
// none is spec.ErrNotFound.
func LoadWiring(dir string) (Wiring, error) {
	data, err := os.ReadFile(filepath.Join(dir, WiringFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Wiring{}, fmt.Errorf("%s: %w", filepath.Join(dir, WiringFile), spec.ErrNotFound)
	}
	if err != nil {
		return Wiring{}, err
	}
	return ParseWiring(data)
}

// ParseWiring reads what Encode has written.
func ParseWiring(data []byte) (Wiring, error) {
	var w Wiring
	if err := json.Unmarshal(data, &w); err != nil {
		return Wiring{}, fmt.Errorf("decode %s: %w", WiringFile, err)
	}
	if w.Version != wiringVersion {
		return Wiring{}, fmt.Errorf("%s: version %d, this cleat reads %d: %w", WiringFile, w.Version, wiringVersion, spec.ErrInvalid)
	}
	return w, nil
}

// Encode returns the content of the wiring's file.
func (w Wiring) Encode() ([]byte, error) {
	w.Version = wiringVersion
	data, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", WiringFile, err)
	}
	return data, nil
}
