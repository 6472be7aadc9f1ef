// Package plan is the start plan of a container: everything that cleat-init
// needs, computed when the container is created. It has two files: config.json,
// the OCI runtime configuration (opencontainers/runtime-spec), which any OCI
// tool can read, and annex.json, what that format has no place for.
package plan

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Version is that of the annex format. A plan of another version is refused:
// it was written by another release and has to be made anew.
const Version = 1

// The names of the plan's files in a container's directory.
const (
	ConfigFile = "config.json"
	AnnexFile  = "annex.json"
)

// NotifyTarget is the directory in a container in which its notification socket,
// NotifySocket, is.
const (
	NotifyTarget = "/run/notify"
	NotifySocket = "notify.sock"
)

// Plan is both files.
type Plan struct {
	Config *specs.Spec
	Annex  Annex
}

// Annex is what cleat needs beyond the OCI configuration. Paths are absolute
// and the host's, unless a comment says otherwise.
type Annex struct {
	Version int
	ID      string
	Name    string
	Unit    string            // the service unit, "cleat-web.service"
	Image   string            // reference, for the journal's IMAGE_NAME
	Labels  map[string]string `json:",omitempty"` // of the container, for its lifecycle events

	Rootfs Rootfs
	CopyUp []CopyUp `json:",omitempty"` // volumes to fill from the image, in order

	// Within lists, by destination, the bind mounts of config.json whose source
	// is part of a directory that containers change (a volume with a subpath).
	// The value is that directory; the way from there to the source leads
	// through no symbolic link.
	Within map[string]string `json:",omitempty"`

	// User and Groups are resolved against the container's own /etc/passwd and
	// /etc/group when it starts, as Docker does; see spec.Process.
	User   string   `json:",omitempty"`
	Groups []string `json:",omitempty"`

	// Seccomp is the compiled filter: an array of struct sock_filter in native
	// byte order. Empty means no filter. The profile itself is in config.json.
	Seccomp []byte `json:",omitempty"`

	// Secrets are the unit's credentials of the names of their targets.
	Secrets []spec.Secret `json:",omitempty"`

	Join       []Join `json:",omitempty"` // namespaces of other containers
	Init       string `json:",omitempty"` // path of the init program to bind at /sbin/docker-init and run as PID 1; "" for none
	Stdio      Stdio
	Inherit    bool `json:",omitempty"` // the payload gets the sockets of its unit, see sd_listen_fds(3)
	Restart    spec.RestartPolicy
	AutoRemove bool `json:",omitempty"`

	// Enlist is the socket of the daemon that watches over the container, see
	// package health/enlist; "" if it has no need of that.
	Enlist string `json:",omitempty"`
	// Notify says who tells the service manager that the container is ready.
	Notify spec.NotifyMode `json:",omitempty"`

	StopSignal  int           // number
	StopTimeout time.Duration // negative: for ever
}

// Rootfs is the overlay of a container.
type Rootfs struct {
	Lower    []string // layer directories, topmost first
	Skeleton string   `json:",omitempty"` // a directory of mount points below all layers; it may be missing
	Upper    string   // writable layer
	Work     string   // overlayfs's work directory, beside Upper
	Volatile bool     `json:",omitempty"` // skip syncing: the container does not outlive a crash
}

// All returns the directories below Upper, topmost first.
func (r Rootfs) All() []string {
	if r.Skeleton == "" || !fsx.Exists(r.Skeleton) {
		return r.Lower
	}
	return append(slices.Clone(r.Lower), r.Skeleton)
}

// CopyUp fills an empty volume with what the image has at its mount point.
type CopyUp struct {
	Target string // path in the container
	Volume string // directory of the volume on the host
}

// Join is a namespace of a running container to enter instead of making one.
type Join struct {
	Namespace specs.LinuxNamespaceType
	Container string // id
}

// Stdio says what the payload's descriptors 0, 1 and 2 are.
type Stdio struct {
	Socket    string   // of the broker, see package journal/stdio
	TTY       bool     `json:",omitempty"`
	OpenStdin bool     `json:",omitempty"`
	StdinOnce bool     `json:",omitempty"`
	Height    uint16   `json:",omitempty"` // initial window, in characters
	Width     uint16   `json:",omitempty"`
	Log       bool     `json:",omitempty"` // lines go to the journal
	Fields    []string `json:",omitempty"` // journal fields of every line, NAME=value
}

// LoadAnnex reads the annex alone of the plan in dir; see Load.
func LoadAnnex(dir string) (Annex, error) {
	var a Annex
	if err := fsx.ReadJSON(filepath.Join(dir, AnnexFile), &a); err != nil {
		return Annex{}, err
	}
	if a.Version != Version {
		return Annex{}, fmt.Errorf("%s: version %d, this cleat reads %d: %w", AnnexFile, a.Version, Version, spec.ErrInvalid)
	}
	return a, nil
}

// Load reads the plan in dir, a container's directory. A missing plan is
// spec.ErrNotFound.
func Load(dir string) (Plan, error) {
	p := Plan{Config: new(specs.Spec)}
	if err := fsx.ReadJSON(filepath.Join(dir, ConfigFile), p.Config); err != nil {
		return Plan{}, err
	}
	var err error
	if p.Annex, err = LoadAnnex(dir); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// Encode returns the content of the plan's files by name.
func (p Plan) Encode() (map[string][]byte, error) {
	config, err := json.Marshal(p.Config)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ConfigFile, err)
	}
	annex, err := p.Annex.Encode()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{ConfigFile: config, AnnexFile: annex}, nil
}

// Encode returns the content of the annex's file.
func (a Annex) Encode() ([]byte, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", AnnexFile, err)
	}
	return data, nil
}
