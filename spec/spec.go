// Package spec holds the nouns that the rooms of cleat share: what a container
// is, in meaning and in one unit per quantity, free of any front end's
// encoding. It imports the standard library alone and does no I/O.
package spec

import (
	"errors"
	"time"
)

// The classes of failure that callers tell apart. Packages wrap them with what
// happened to which object; each front end maps them once to its own codes.
var (
	ErrNotFound  = errors.New("not found")           // the object does not exist
	ErrExists    = errors.New("already exists")      // the name or id is taken
	ErrInvalid   = errors.New("invalid")             // the request makes no sense as such
	ErrConflict  = errors.New("conflict")            // the object's state forbids it
	ErrUnsupport = errors.New("not supported")       // this machine or version cannot do it
	ErrDenied    = errors.New("permission denied")   // privileges or credentials are missing
	ErrUnavail   = errors.New("unavailable for now") // a registry, systemd or the broker does not answer
)

// Container is what the user asked for, as it is stored in container.json. It
// changes only by an explicit update; how the last run ended is in State.
type Container struct {
	Version int       // of this format: 1
	ID      string    // 64 lower-case hex digits
	Name    string    // unique; [a-zA-Z0-9][a-zA-Z0-9_.-]*
	Created time.Time // when the container was created

	// Unit is the container's service unit where that does not follow from Name:
	// systemd cannot rename a unit that runs, and the unit that would follow may
	// still be that of a container that had this name before. See UnitName.
	Unit string `json:",omitempty"`

	// FormerUnits are the units that the container was before it was renamed: its
	// earlier output is theirs.
	FormerUnits []string `json:",omitempty"`

	// Slice is the slice unit that the container's unit is in, for example
	// "cleat-shop.slice" for a compose project; "" means cleat.slice.
	Slice string `json:",omitempty"`

	Image   Image
	Process Process
	Labels  map[string]string `json:",omitempty"`

	Hostname   string     `json:",omitempty"` // "" means the first 12 digits of ID
	Domainname string     `json:",omitempty"`
	Mounts     []Mount    `json:",omitempty"`
	Secrets    []Secret   `json:",omitempty"`
	Network    Network    // how the container is connected
	Activation Activation `json:",omitzero"` // what starts it beside a command
	Security   Security   // what the payload may do
	Limits     Limits
	Devices    []Device          `json:",omitempty"`
	Ulimits    []Ulimit          `json:",omitempty"`
	Sysctls    map[string]string `json:",omitempty"`

	DeviceRules []DeviceRule      `json:",omitempty"` // devices that may be used, without a node for them
	Annotations map[string]string `json:",omitempty"` // of the OCI configuration, for tools that read that

	ReadOnly     bool   `json:",omitempty"` // the root file system is mounted read-only
	ShmBytes     int64  `json:",omitempty"` // size of /dev/shm in bytes; 0 means 64 MiB
	Init         bool   `json:",omitempty"` // a tiny init as PID 1 that reaps and forwards signals
	PIDMode      string `json:",omitempty"` // "" private, "host", or "container:<id>"
	IPCMode      string `json:",omitempty"` // "" private, "host", "none", "shareable", or "container:<id>"
	UTSMode      string `json:",omitempty"` // "" private or "host"
	CgroupnsMode string `json:",omitempty"` // "" private or "host"

	// Source is the file that describes the container, nil if a command has made it.
	// Such a container is what its file says, and its unit is made from that as well.
	Source *Source `json:",omitempty"`

	// Requires and After are units of the host, with their suffixes. The container
	// is started after all of them; those in Requires are started with it, and
	// stopping one of these stops the container.
	Requires []string `json:",omitempty"`
	After    []string `json:",omitempty"`

	// SurviveSoftReboot leaves it running while systemd starts everything else anew,
	// see systemd-soft-reboot.service(8).
	SurviveSoftReboot bool `json:",omitempty"`

	Restart     RestartPolicy
	StopSignal  string         `json:",omitempty"` // for example "SIGQUIT"; "" means SIGTERM
	StopTimeout *time.Duration `json:",omitempty"` // from StopSignal to SIGKILL; nil means 10 s, negative for ever
	AutoRemove  bool           `json:",omitempty"` // delete the container when its run ends
	Log         LogConfig

	Healthcheck *Healthcheck `json:",omitempty"` // nil means no checks
	Notify      NotifyMode   `json:",omitempty"` // when systemd is told that the container is ready
}

// Source is a file that describes a container.
type Source struct {
	Path   string // absolute
	Digest string // changes when the description does
}

// Image says which image a container runs.
type Image struct {
	Reference string   // as the user gave it, for example "nginx"
	ID        string   // config digest, "sha256:" and 64 hex digits
	DiffIDs   []string // of the layers, bottom first, with "sha256:"
}

// Process is the command a container runs, after the image's defaults and the
// user's options have been merged.
type Process struct {
	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`
	Env        []string // NAME=value, in order, without duplicates
	Dir        string   `json:",omitempty"` // working directory; "" means /
	User       string   `json:",omitempty"` // user[:group], names or numbers; "" means root
	Groups     []string `json:",omitempty"` // supplementary groups (--group-add), names or numbers

	TTY       bool   `json:",omitempty"` // stdio is a pseudo terminal
	OpenStdin bool   `json:",omitempty"` // stdin is a pipe (or the terminal), else /dev/null
	StdinOnce bool   `json:",omitempty"` // stdin closes when the first attached client goes
	TTYHeight uint16 `json:",omitempty"` // initial window size, in characters; 0 leaves the kernel's
	TTYWidth  uint16 `json:",omitempty"`
}

// Argv returns the whole argument vector, entrypoint first.
func (p Process) Argv() []string {
	return append(append(make([]string, 0, len(p.Entrypoint)+len(p.Cmd)), p.Entrypoint...), p.Cmd...)
}

// MountType says what a Mount puts into the container.
type MountType string

// The kinds of mount.
const (
	MountBind   MountType = "bind"   // a file or directory of the host
	MountVolume MountType = "volume" // a named or anonymous volume
	MountTmpfs  MountType = "tmpfs"  // memory
)

// Mount is one entry of --volume, --mount or --tmpfs.
type Mount struct {
	Type          MountType
	Source        string            `json:",omitempty"` // bind: absolute path on the host; volume: its name
	Target        string            // absolute path in the container
	ReadOnly      bool              `json:",omitempty"`
	NoCopy        bool              `json:",omitempty"` // volume: do not fill an empty one from the image
	Anonymous     bool              `json:",omitempty"` // volume: made for this container and removed with it (rm -v, --rm)
	Propagation   string            `json:",omitempty"` // bind: "rprivate" (default), "private", "rshared", "shared", "rslave", "slave"
	NonRecursive  bool              `json:",omitempty"` // bind: without the mounts below Source
	CreateSource  bool              `json:",omitempty"` // bind: -v makes a missing Source directory, --mount does not
	Subpath       string            `json:",omitempty"` // volume: a directory below its root
	VolumeLabels  map[string]string `json:",omitempty"` // volume: of one that is made for this mount
	VolumeOptions map[string]string `json:",omitempty"` // volume: the driver's, of one that is made for this mount
	TmpfsBytes    int64             `json:",omitempty"` // tmpfs: 0 means unlimited
	TmpfsMode     uint32            `json:",omitempty"` // tmpfs: 0 means 01777
	Options       []string          `json:",omitempty"` // tmpfs: further mount options of --tmpfs, for example "noexec"
}

// Security says what the payload may do.
type Security struct {
	CapAdd          []string `json:",omitempty"` // "NET_ADMIN" without the "CAP_" prefix, or "ALL"
	CapDrop         []string `json:",omitempty"`
	Privileged      bool     `json:",omitempty"`
	NoNewPrivileges bool     `json:",omitempty"`
	Seccomp         string   `json:",omitempty"` // "" default profile, "unconfined", or the profile's JSON text
	AppArmor        string   `json:",omitempty"` // profile name, "" or "unconfined"
	Unmask          bool     `json:",omitempty"` // systempaths=unconfined: no masked or read-only paths
}

// Limits are the resource limits of one container. In every field zero means
// "no limit" or the kernel's default.
type Limits struct {
	MemoryBytes      int64         `json:",omitempty"` // RAM and page cache charged to the container, in bytes
	SwapBytes        int64         `json:",omitempty"` // swap alone, in bytes, unlike Docker's --memory-swap; -1 means unlimited, see NoSwap
	NoSwap           bool          `json:",omitempty"` // no swap at all
	ReservationBytes int64         `json:",omitempty"` // soft limit: memory protected under pressure, in bytes
	CPUMillis        int64         `json:",omitempty"` // CPU time per wall second, in thousandths: 1500 is one and a half cores
	CPUShares        int64         `json:",omitempty"` // Docker's relative weight, 2 to 262144, 1024 is normal
	CPUSet           string        `json:",omitempty"` // for example "0-2,4"
	MemoryNodes      string        `json:",omitempty"` // NUMA nodes whose memory may be used, for example "0,1"
	Pids             int64         `json:",omitempty"` // processes and threads, counted together
	IOWeight         uint16        `json:",omitempty"` // relative weight 10 to 1000, 500 is normal (Docker's --blkio-weight)
	IODeviceWeights  []DeviceLimit `json:",omitempty"` // the same for single devices: here Rate is a weight
	ReadBPS          []DeviceLimit `json:",omitempty"` // bytes a second
	WriteBPS         []DeviceLimit `json:",omitempty"`
	ReadIOPS         []DeviceLimit `json:",omitempty"` // operations a second
	WriteIOPS        []DeviceLimit `json:",omitempty"`
	OOMScoreAdj      int           `json:",omitempty"` // -1000 to 1000
}

// DeviceLimit is the rate limit of one block device.
type DeviceLimit struct {
	Path string // for example "/dev/sda"
	Rate uint64
}

// Device is one --device.
type Device struct {
	Host        string // path on the host
	Container   string // path in the container
	Permissions string // some of "rwm"
}

// DeviceRule is one --device-cgroup-rule: devices by their numbers.
type DeviceRule struct {
	Type        string // "a" all, "b" block or "c" character devices
	Major       string // a number, or "*" for any
	Minor       string
	Permissions string // some of "rwm"
}

// String returns the rule as Docker writes it: "c 1:3 rwm".
func (r DeviceRule) String() string {
	return r.Type + " " + r.Major + ":" + r.Minor + " " + r.Permissions
}

// Ulimit is one --ulimit. Soft and Hard are in the unit of setrlimit(2) for
// that resource; -1 means unlimited.
type Ulimit struct {
	Name string // lower case, without "RLIMIT_": "nofile"
	Soft int64
	Hard int64
}

// RestartMode is the name of a restart policy.
type RestartMode string

// The restart policies.
const (
	RestartNo            RestartMode = "no"
	RestartAlways        RestartMode = "always"
	RestartUnlessStopped RestartMode = "unless-stopped"
	RestartOnFailure     RestartMode = "on-failure"
)

// RestartPolicy says when a container that ended is started again.
type RestartPolicy struct {
	Mode       RestartMode // "" means no
	MaxRetries int         `json:",omitempty"` // on-failure: 0 means no maximum
}

// Boot reports whether the policy asks for a unit that systemd starts at boot.
// That of on-failure then looks at how the last run ended.
func (p RestartPolicy) Boot() bool {
	return p.Mode == RestartAlways || p.Mode == RestartUnlessStopped || p.Mode == RestartOnFailure
}

// LogConfig says where output goes.
type LogConfig struct {
	Driver string            // "journald" or "none"; "" means journald
	Tag    string            `json:",omitempty"` // expanded; "" means the first 12 digits of the id
	Fields map[string]string `json:",omitempty"` // from --log-opt labels=,env=: upper-case journal fields
}

// DefaultStopTimeout is the time from the stop signal to SIGKILL when the user
// gave none, as in Docker.
const DefaultStopTimeout = 10 * time.Second

// ShortID returns the first 12 digits of an id, which is what people see.
func ShortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// UnitName returns the name of the service unit that a container is.
func (c Container) UnitName() string {
	if c.Unit != "" {
		return c.Unit
	}
	return UnitOf(c.Name)
}

// UnitOf returns the service unit of a container that is called name, unless its
// record says otherwise.
func UnitOf(name string) string { return "cleat-" + name + ".service" }
