package netd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Live is what a container that runs has of its networks. Its start helper
// writes it before it plugs anything, and the command that ends the run removes
// it last, so everything that a container can have is in its record.
type Live struct {
	ContainerID string     `json:"container"`
	Cgroup      string     `json:"cgroup"` // of its unit, below the root of cgroup2; nobody is in it once the run has ended
	Endpoints   []Endpoint `json:"endpoints"`
	Ports       []Port     `json:"ports,omitempty"`     // published
	Activated   bool       `json:"activated,omitempty"` // as in Wiring
	Led         []Port     `json:"led,omitempty"`       // if Activated, those of Ports that the firewall leads to the container; the rest is the sockets'
	Closing     bool       `json:"closing,omitempty"`   // the run is about to be ended: nothing may be led to it any more
	Loopback6   bool       `json:"loopback6,omitempty"` // the firewall cannot lead [::1] to it, see package nft: that is a proxy's
	Table       string     `json:"table"`               // of the firewall

	Resolver bool         `json:"resolver,omitempty"` // as in Wiring
	Names    []string     `json:"names,omitempty"`    // likewise
	DNS      []netip.Addr `json:"dns,omitempty"`      // likewise
	Internal bool         `json:"internal,omitempty"` // none of its networks has a way out
	Links    []Link       `json:"links,omitempty"`    // of all its networks
}

// Running reports whether the run that l is of goes on: whether its unit still
// has a process, be it the start helper or the payload.
func (l Live) Running() bool { return occupied(l.Cgroup) }

// occupied reports whether a control group has processes.
func occupied(cgroup string) bool {
	return cgroup != "" && Populated(EventsFile(CgroupRoot, cgroup))
}

// CgroupRoot is where cgroup2 is mounted.
const CgroupRoot = "/sys/fs/cgroup"

// EventsFile returns the file that tells whether a control group has processes,
// and whose changes can be watched; root is CgroupRoot. See cgroups(7).
func EventsFile(root, cgroup string) string { return filepath.Join(root, cgroup, "cgroup.events") }

// Populated reports whether an EventsFile tells of processes.
func Populated(eventsFile string) bool {
	events, err := os.ReadFile(eventsFile)
	return err == nil && bytes.Contains(events, []byte("populated 1\n"))
}

// Lives is the directory of the records of what runs. It lies on a tmpfs. All
// methods may be called by many processes at a time; of one container's record
// only its own helper is the writer, and who holds the container's lock.
type Lives struct{ dir string }

// LiveDir is the directory of the records, below the runtime root.
const LiveDir = "net/live"

// NewLives returns the records below dir, for example /run/cleat/net/live. The
// directory is made when it is needed.
func NewLives(dir string) Lives { return Lives{dir} }

// Dir returns the directory, whose modification time changes with every record
// that comes, goes or is replaced.
func (r Lives) Dir() string { return r.dir }

// Save replaces the record of a container.
func (r Lives) Save(l Live) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode network record: %w", err)
	}
	path, err := r.path(l.ContainerID)
	if err != nil {
		return err
	}
	err = fsx.WriteFileVolatile(path, data, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			return err
		}
		err = fsx.WriteFileVolatile(path, data, 0o600)
	}
	return err
}

// Load returns the record of a container, spec.ErrNotFound if it is on no
// network or does not run.
func (r Lives) Load(containerID string) (Live, error) {
	var l Live
	path, err := r.path(containerID)
	if err != nil {
		return Live{}, err
	}
	return l, fsx.ReadJSON(path, &l)
}

// Remove removes the record of a container, if there is one.
func (r Lives) Remove(containerID string) error {
	path, err := r.path(containerID)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// All returns all records, those of runs that have ended without notice
// included, in the order of ids.
func (r Lives) All() ([]Live, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := make([]Live, 0, len(entries))
	for _, e := range entries {
		if fsx.IsTemp(e.Name()) {
			continue
		}
		l, err := r.Load(e.Name())
		if errors.Is(err, spec.ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// path returns the file of a container's record. The id becomes part of a path.
func (r Lives) path(id string) (string, error) {
	if id == "" || id[0] == '.' || filepath.Base(id) != id {
		return "", fmt.Errorf("container id %q: %w", id, spec.ErrInvalid)
	}
	return filepath.Join(r.dir, id), nil
}
