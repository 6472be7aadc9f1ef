package engine

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info is what this machine is and has, in Docker's form (Engine API,
// SystemInfo), as far as the fields have a meaning here.
type Info struct {
	ID                 string // of this machine's cleat, made from the machine id
	Containers         int
	ContainersRunning  int
	ContainersPaused   int
	ContainersStopped  int
	Images             int
	Driver             string      // of storage
	DriverStatus       [][2]string // its properties
	Plugins            InfoPlugins
	MemoryLimit        bool // whether containers can be limited so
	SwapLimit          bool
	CPUCfsPeriod       bool `json:"CpuCfsPeriod"`
	CPUCfsQuota        bool `json:"CpuCfsQuota"`
	CPUShares          bool
	CPUSet             bool
	PidsLimit          bool
	IPv4Forwarding     bool
	OomKillDisable     bool
	Debug              bool
	SystemTime         string // RFC 3339 with nanoseconds
	LoggingDriver      string
	CgroupDriver       string
	CgroupVersion      string
	KernelVersion      string
	OperatingSystem    string
	OSVersion          string
	OSType             string
	Architecture       string
	NCPU               int
	MemTotal           int64 // bytes
	IndexServerAddress string
	RegistryConfig     InfoRegistry
	DockerRootDir      string
	HTTPProxy          string `json:"HttpProxy"`
	HTTPSProxy         string `json:"HttpsProxy"`
	NoProxy            string
	Name               string // the host's
	Labels             []string
	ExperimentalBuild  bool
	ServerVersion      string
	SystemdVersion     string // not in Docker
	Runtimes           map[string]InfoRuntime
	DefaultRuntime     string
	Swarm              InfoSwarm
	LiveRestoreEnabled bool
	Isolation          string
	InitBinary         string
	SecurityOptions    []string
	Warnings           []string
}

// InfoPlugins lists the drivers that there are.
type InfoPlugins struct {
	Volume        []string
	Network       []string
	Authorization []string
	Log           []string
}

// InfoRegistry is how registries are spoken to.
type InfoRegistry struct {
	InsecureRegistryCIDRs []string
	IndexConfigs          map[string]InfoIndex
	Mirrors               []string // of Docker Hub
}

// InfoIndex is how one registry is spoken to.
type InfoIndex struct {
	Name     string
	Mirrors  []string
	Secure   bool
	Official bool
}

// InfoRuntime is a program that starts containers.
type InfoRuntime struct {
	Path string `json:"path"`
}

// InfoSwarm says that there is no Swarm.
type InfoSwarm struct {
	LocalNodeState   string
	ControlAvailable bool
}

// Info returns what this machine is and has.
func (e *Engine) Info(ctx context.Context) (*Info, error) {
	i := &Info{
		ID: machineID(), Driver: "overlay", LoggingDriver: "journald", CgroupDriver: "systemd", CgroupVersion: "2", OSType: runtime.GOOS,
		DriverStatus: [][2]string{{"Backing Filesystem", backingFS(e.opt.Root)}}, NCPU: runtime.NumCPU(), DockerRootDir: e.opt.Root,
		Plugins:    InfoPlugins{Volume: []string{localDriver}, Network: []string{"bridge", "host", "null"}, Log: []string{"journald", "none"}},
		SystemTime: stamp(time.Now()), IndexServerAddress: "https://index.docker.io/v1/", ServerVersion: e.opt.Version,
		HTTPProxy: proxy("HTTP_PROXY"), HTTPSProxy: proxy("HTTPS_PROXY"), NoProxy: proxy("NO_PROXY"), Labels: []string{},
		Runtimes: map[string]InfoRuntime{runtimeName: {e.initPath()}}, DefaultRuntime: runtimeName, InitBinary: initProgram,
		Swarm: InfoSwarm{LocalNodeState: "inactive"}, LiveRestoreEnabled: true, RegistryConfig: e.registryInfo(),
	}
	i.OperatingSystem, i.OSVersion = osRelease("/etc/os-release", "/usr/lib/os-release")
	i.addKernel()
	i.addControllers()
	if err := e.countObjects(ctx, i); err != nil {
		return nil, err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return nil, err
	}
	systemd, err := conn.Version(ctx)
	i.SystemdVersion = strconv.Itoa(systemd)
	return i, err
}

// runtimeName is what inspect and info call the start helper.
const runtimeName = "cleat"

func (e *Engine) initPath() string { return e.opt.Libexec + "/" + initProgram }

// countObjects fills in how many containers and images there are.
func (e *Engine) countObjects(ctx context.Context, i *Info) error {
	containers, images, err := e.listAll(ctx)
	if err != nil {
		return err
	}
	i.Containers = len(containers)
	for _, c := range containers {
		switch c.Status {
		case StatusRunning, StatusRestarting:
			i.ContainersRunning++
		case StatusPaused:
			i.ContainersPaused++
		case StatusCreated, StatusExited, StatusDead, StatusSleeping:
			i.ContainersStopped++
		}
	}
	i.Images = len(images)
	return nil
}

// registryInfo is what the configuration says of registries.
func (e *Engine) registryInfo() InfoRegistry {
	const hub = "docker.io"
	r := InfoRegistry{
		InsecureRegistryCIDRs: []string{"127.0.0.0/8"}, Mirrors: emptyNotNil(e.config.Registries[hub].Mirrors),
		IndexConfigs: map[string]InfoIndex{hub: {Name: hub, Mirrors: emptyNotNil(e.config.Registries[hub].Mirrors), Secure: true, Official: true}},
	}
	for _, name := range slices.Sorted(maps.Keys(e.config.Registries)) {
		c := e.config.Registries[name]
		r.IndexConfigs[name] = InfoIndex{Name: name, Mirrors: emptyNotNil(c.Mirrors), Secure: !c.Insecure && !c.PlainHTTP, Official: name == hub}
	}
	return r
}

// addKernel fills in what the kernel says of itself and the machine.
func (i *Info) addKernel() {
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		i.KernelVersion, i.Architecture = unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:])
		i.Name = unix.ByteSliceToString(uts.Nodename[:])
	}
	var mem unix.Sysinfo_t
	if unix.Sysinfo(&mem) == nil {
		i.MemTotal = int64(mem.Totalram) * int64(mem.Unit)
	}
	i.IPv4Forwarding = firstByte("/proc/sys/net/ipv4/ip_forward") == '1'
	i.SecurityOptions = []string{"name=seccomp,profile=builtin", "name=cgroupns"}
	if firstByte("/sys/module/apparmor/parameters/enabled") == 'Y' {
		i.SecurityOptions = append([]string{"name=apparmor"}, i.SecurityOptions...)
	}
}

// addControllers fills in which limits this machine can enforce.
func (i *Info) addControllers() {
	have := controllers()
	has := func(name string) bool { return slices.Contains(have, name) }
	i.MemoryLimit, i.SwapLimit, i.PidsLimit = has("memory"), has("memory"), has("pids")
	i.CPUCfsPeriod, i.CPUCfsQuota, i.CPUShares, i.CPUSet = has("cpu"), has("cpu"), has("cpu"), has("cpuset")
	i.Warnings = []string{}
	for _, c := range [][2]string{{"memory", "memory"}, {"pids", "pids"}, {"cpu", "cpu"}, {"cpuset", "cpuset"}, {"io", "io"}} {
		if !has(c[0]) {
			i.Warnings = append(i.Warnings, "WARNING: No "+c[1]+" limit support: the cgroup v2 hierarchy lacks the controller "+c[0])
		}
	}
}

// controllers returns the control group controllers that systemd can use; none
// if that cannot be read.
func controllers() []string {
	data, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	return strings.Fields(string(data))
}

// firstByte returns the first byte of a file, 0 if there is none.
func firstByte(path string) byte {
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return 0
	}
	return data[0]
}

// proxy reads a variable of the environment in either case, as registries are
// reached with it.
func proxy(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return os.Getenv(strings.ToLower(name))
}

// backingFS names the file system below a directory, as Docker does.
func backingFS(dir string) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "extfs", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.F2FS_SUPER_MAGIC: "f2fs", unix.NFS_SUPER_MAGIC: "nfs", 0x2fc12fc1: "zfs",
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || names[st.Type] == "" {
		return "<unknown>"
	}
	return names[st.Type]
}

// osRelease returns name and version of the operating system by the first of
// the files that is there, see os-release(5).
func osRelease(paths ...string) (name, version string) {
	name = "Linux"
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer func() { _ = f.Close() }() // only read
		for lines := bufio.NewScanner(f); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), "=")
			if unquoted, err := strconv.Unquote(value); err == nil {
				value = unquoted
			}
			switch key {
			case "PRETTY_NAME":
				name = value
			case "VERSION_ID":
				version = strings.Trim(value, "'")
			}
		}
		break
	}
	return strings.Trim(name, "'"), version
}

// machineID is an id of this machine for cleat, from which the machine's own,
// which is confidential (machine-id(5)), cannot be found. Its form is Docker's.
func machineID() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(strings.TrimSpace(string(id))))
	mac.Write([]byte("cleat"))
	text := base32.StdEncoding.EncodeToString(mac.Sum(nil))[:48]
	var groups []string
	for group := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, ":")
}
