package engine

import (
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/state"
)

// The types below are what `docker inspect` prints: names, encodings and zero
// values are Docker's (Engine API, ContainerInspect), so that scripts written
// for it go on. They are made from spec.Container and are not stored.

// ContainerInspect is a container in Docker's form.
type ContainerInspect struct {
	ID              string `json:"Id"`
	Created         string // RFC 3339 with nanoseconds
	Path            string // first word of the command
	Args            []string
	State           *ContainerState
	Image           string // id, "sha256:…"
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	LogPath         string // "": the log is in the journal
	Name            string // with a slash before it
	RestartCount    int
	Driver          string
	Platform        string
	MountLabel      string
	ProcessLabel    string
	AppArmorProfile string
	ExecIDs         []string
	HostConfig      *HostConfig
	GraphDriver     GraphDriver
	SizeRw          *int64 `json:",omitempty"` // bytes that it has written; nil unless asked for
	SizeRootFs      *int64 `json:",omitempty"` // the same with its image's
	Mounts          []MountPoint
	Config          *ContainerConfig
	NetworkSettings *NetworkSettings
	Unit            *UnitInspect `json:",omitempty"` // cleat's own
}

// ContainerState is how a container is doing.
type ContainerState struct {
	Status     Status
	Running    bool // also while paused or restarting, as in Docker
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int
	Error      string
	StartedAt  string         // "0001-01-01T00:00:00Z" if it never started
	FinishedAt string         // the same if it never ended
	Health     *HealthInspect `json:",omitempty"` // nil without health checks
}

// GraphDriver says where a container's layers are.
type GraphDriver struct {
	Data map[string]string
	Name string
}

// MountPoint is a mount of a container.
type MountPoint struct {
	Type        string
	Name        string `json:",omitempty"` // of a volume
	Source      string // on the host
	Destination string // in the container
	Driver      string `json:",omitempty"`
	Mode        string
	RW          bool
	Propagation string
}

// ContainerConfig is what a container shares with its image's configuration.
type ContainerConfig struct {
	Hostname     string
	Domainname   string
	User         string
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	Tty          bool
	OpenStdin    bool
	StdinOnce    bool
	Env          []string
	Cmd          []string
	Healthcheck  *image.Healthcheck `json:",omitempty"`
	Image        string             // as the user gave it
	Volumes      map[string]struct{}
	ExposedPorts map[string]struct{} `json:",omitempty"`
	WorkingDir   string
	Entrypoint   []string
	OnBuild      []string
	Labels       map[string]string
	StopSignal   string `json:",omitempty"`
	StopTimeout  *int   `json:",omitempty"` // seconds

	HealthcheckOnFailureAction string `json:",omitempty"` // Podman's; "" for none
}

// HealthInspect is what the health checks of a container have found.
type HealthInspect struct {
	Status        state.HealthStatus
	FailingStreak int
	Log           []state.HealthResult
}

// HostConfig is what a container asks of its host.
type HostConfig struct {
	Binds                []string
	ContainerIDFile      string
	LogConfig            LogConfigInspect
	NetworkMode          string
	PortBindings         map[string][]PortBinding
	RestartPolicy        RestartPolicyInspect
	Activation           *ActivationInspect `json:",omitempty"` // not Docker's
	AutoRemove           bool
	VolumeDriver         string
	VolumesFrom          []string
	ConsoleSize          [2]uint16         // height, width
	Annotations          map[string]string `json:",omitempty"`
	CapAdd               []string
	CapDrop              []string
	CgroupnsMode         string
	DNS                  []string `json:"Dns"`
	DNSOptions           []string `json:"DnsOptions"`
	DNSSearch            []string `json:"DnsSearch"`
	ExtraHosts           []string
	GroupAdd             []string
	IpcMode              string
	Cgroup               string
	Links                []string
	OomScoreAdj          int
	PidMode              string
	Privileged           bool
	PublishAllPorts      bool
	ReadonlyRootfs       bool
	SecurityOpt          []string
	Tmpfs                map[string]string `json:",omitempty"`
	UTSMode              string
	UsernsMode           string
	ShmSize              int64
	Sysctls              map[string]string `json:",omitempty"`
	Runtime              string
	Isolation            string
	CPUShares            int64 `json:"CpuShares"`
	Memory               int64
	NanoCPUs             int64 `json:"NanoCpus"` // CPUs times 10⁹
	CgroupParent         string
	BlkioWeight          uint16
	BlkioWeightDevice    []WeightInspect
	BlkioDeviceReadBps   []ThrottleInspect
	BlkioDeviceWriteBps  []ThrottleInspect
	BlkioDeviceReadIOps  []ThrottleInspect
	BlkioDeviceWriteIOps []ThrottleInspect
	CPUPeriod            int64 `json:"CpuPeriod"`
	CPUQuota             int64 `json:"CpuQuota"`
	CPURealtimePeriod    int64 `json:"CpuRealtimePeriod"`
	CPURealtimeRuntime   int64 `json:"CpuRealtimeRuntime"`
	CpusetCpus           string
	CpusetMems           string
	Devices              []DeviceInspect
	DeviceCgroupRules    []string
	DeviceRequests       []struct{}
	MemoryReservation    int64
	MemorySwap           int64 // RAM and swap together; -1 is unlimited
	MemorySwappiness     *int64
	OomKillDisable       *bool
	Init                 *bool  `json:",omitempty"`
	PidsLimit            *int64 // nil is unlimited
	Ulimits              []UlimitInspect
	CPUCount             int64 `json:"CpuCount"`
	CPUPercent           int64 `json:"CpuPercent"`
	IOMaximumIOps        uint64
	IOMaximumBandwidth   uint64
	Mounts               []MountInspect `json:",omitempty"`
	MaskedPaths          []string
	ReadonlyPaths        []string
}

// LogConfigInspect is HostConfig.LogConfig.
type LogConfigInspect struct {
	Type   string
	Config map[string]string
}

// RestartPolicyInspect is HostConfig.RestartPolicy.
type RestartPolicyInspect struct {
	Name              string
	MaximumRetryCount int
}

// ActivationInspect is HostConfig.Activation of a container that connections start.
type ActivationInspect struct {
	Mode        string // "fd" or "proxy"
	IdleTimeout int64  // nanoseconds; 0 means never
}

// ThrottleInspect is a rate limit of a block device.
type ThrottleInspect struct {
	Path string
	Rate uint64
}

// WeightInspect is the weight of a block device.
type WeightInspect struct {
	Path   string
	Weight uint16
}

// DeviceInspect is one entry of HostConfig.Devices.
type DeviceInspect struct {
	PathOnHost        string
	PathInContainer   string
	CgroupPermissions string
}

// UlimitInspect is one entry of HostConfig.Ulimits.
type UlimitInspect struct {
	Name string
	Hard int64
	Soft int64
}

// MountInspect is one entry of HostConfig.Mounts, which are those of --mount.
type MountInspect struct {
	Type     string
	Source   string `json:",omitempty"`
	Target   string
	ReadOnly bool `json:",omitempty"`
}

// NetworkSettings says how a container is connected.
type NetworkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  map[string][]PortBinding // nil for a port that is exposed and not published
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	Networks               map[string]*EndpointInspect
}

// PortBinding is where a port is published.
type PortBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// EndpointIPAM is what the user asked for.
type EndpointIPAM struct {
	IPv4Address string `json:",omitempty"`
	IPv6Address string `json:",omitempty"`
}

// EndpointInspect is a container's place in one network.
type EndpointInspect struct {
	IPAMConfig          *EndpointIPAM
	Links               []string
	Aliases             []string
	MacAddress          string
	DriverOpts          map[string]string
	GwPriority          int
	NetworkID           string
	EndpointID          string
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	DNSNames            []string
}

// stamp is a point in time in Docker's form.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
