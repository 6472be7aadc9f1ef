package main

import (
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// createFlags are the flags that run and create share. What has a syntax is
// parsed as it is met, so that the error names the flag.
type createFlags struct {
	name, cidFile     string
	labels            *opts.List[string]
	annotations       *opts.List[string]
	labelFiles        []string
	pull, platform    string
	quiet, autoRemove bool

	processFlags
	rootFlags
	namespaceFlags
	networkFlags
	securityFlags
	limitFlags
	logFlags
	healthFlags

	requires, after *opts.List[string]
	survive         bool

	restart     string
	stopSignal  string
	stopTimeout int
	init        bool
}

// processFlags say what runs in the container, and how.
type processFlags struct {
	attach                *opts.List[string]
	tty, interactive      bool
	env                   *opts.List[string]
	envFiles              []string
	dir, user, entrypoint string
	groups                []string
}

// rootFlags say what the container finds in its file system.
type rootFlags struct {
	volumes, mounts, tmpfs *opts.List[spec.Mount]
	volumesFrom            []string
	devices                *opts.List[spec.Device]
	deviceRules            *opts.List[spec.DeviceRule]
	secrets                *opts.List[spec.Secret]
	readOnly               bool
	shm                    *opts.One[int64]
}

// namespaceFlags say what the container shares with others.
type namespaceFlags struct {
	extraHosts, dns, search         *opts.List[string]
	dnsOptions                      *opts.List[string]
	hostname, domainname            string
	pidMode, ipcMode, utsMode, cgns *opts.One[string]
}

// securityFlags say what the container may do.
type securityFlags struct {
	capAdd, capDrop *opts.List[string]
	privileged      bool
	options         []string
	sysctls         *opts.List[string]
}

// limitFlags say how much the container may use.
type limitFlags struct {
	memory, swap, reservation *opts.One[int64]
	cpus                      *opts.One[int64]
	shares, quota, period     int64
	cpuset, memoryNodes       string
	pids                      int64
	ioWeight                  uint16
	deviceWeights             *opts.List[spec.DeviceLimit]
	readBPS, writeBPS         *opts.List[spec.DeviceLimit]
	readIOPS, writeIOPS       *opts.List[spec.DeviceLimit]
	ulimits                   *opts.List[spec.Ulimit]
	oomScoreAdj               int
}

// logFlags say where output goes.
type logFlags struct {
	driver     string
	logOptions *opts.List[string]
}

// newCreateFlags defines the flags on fs.
func newCreateFlags(fs *pflag.FlagSet, c *cli) *createFlags {
	f := &createFlags{}
	fs.SetInterspersed(false)
	fs.StringVar(&f.name, "name", "", "Assign a name to the container")
	fs.StringVar(&f.cidFile, "cidfile", "", "Write the container ID to the file")
	f.labels = opts.NewList("", opts.Label)
	fs.VarP(f.labels, "label", "l", "Set meta data on a container")
	f.annotations = opts.NewList("map", opts.Annotation)
	fs.Var(f.annotations, "annotation", "Add an annotation to the OCI configuration of the container")
	fs.StringArrayVar(&f.labelFiles, "label-file", nil, "Read in a line delimited file of labels")
	fs.StringVar(&f.pull, "pull", "missing", `Pull image before running ("always", "missing", "never")`)
	fs.StringVar(&f.platform, "platform", defaultPlatform(c), "Set platform if the image is there for several")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Suppress the pull output")
	fs.BoolVar(&f.autoRemove, "rm", false, "Automatically remove the container and its associated anonymous volumes when it exits")
	fs.StringVar(&f.restart, "restart", "no", "Restart policy to apply when a container exits")
	fs.StringVar(&f.stopSignal, "stop-signal", "", "Signal to stop the container")
	fs.IntVar(&f.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container, -1 to wait for ever")
	fs.BoolVar(&f.init, "init", false, "Run an init inside the container that forwards signals and reaps processes")
	f.requires = opts.NewList("unit", opts.Any)
	fs.Var(f.requires, "requires", "Start a unit of the host before the container, and stop the container with it")
	f.after = opts.NewList("unit", opts.Any)
	fs.Var(f.after, "after", "Start the container after a unit of the host, if both are started")
	fs.BoolVar(&f.survive, "survive-soft-reboot", false, "Leave the container running over \"systemctl soft-reboot\"")
	f.processFlags.define(fs, c)
	f.rootFlags.define(fs, c)
	f.namespaceFlags.define(fs)
	f.networkFlags.define(fs)
	f.securityFlags.define(fs)
	f.limitFlags.define(fs)
	f.healthFlags.define(fs)
	fs.StringVar(&f.driver, "log-driver", "", `Logging driver for the container ("journald", "none")`)
	f.logOptions = opts.NewList("", opts.Pair)
	fs.Var(f.logOptions, "log-opt", "Log driver options (tag, labels, env)")
	refuse(fs, refusedCreate)
	for _, flag := range []string{"env-file", "group-add", "security-opt", "volumes-from", "label-file"} {
		asList(fs.Lookup(flag))
	}
	return f
}

// defaultPlatform is what the caller's environment says, under Docker's name.
func defaultPlatform(c *cli) string {
	platform, _ := c.lookup("DOCKER_DEFAULT_PLATFORM")
	return platform
}

// typed is a flag with another name for its type in the help.
type typed struct {
	pflag.Value
	kind string
}

func (t typed) Type() string { return t.kind }

// asType calls the type of a flag as Docker's help does.
func asType(f *pflag.Flag, kind string) { f.Value = typed{f.Value, kind} }

// asList shows a repeatable flag of pflag as Docker's help shows it.
func asList(f *pflag.Flag) { f.Value, f.DefValue = listType{f.Value}, "" }

type listType struct{ pflag.Value }

func (listType) Type() string   { return "list" }
func (listType) String() string { return "" }

func (f *processFlags) define(fs *pflag.FlagSet, c *cli) {
	f.attach = opts.NewList("", opts.Stream)
	fs.VarP(f.attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR")
	fs.BoolVarP(&f.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.env = opts.NewList("", opts.EnvParser(c.lookup))
	fs.VarP(f.env, "env", "e", "Set environment variables")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "Read in a file of environment variables")
	fs.StringVarP(&f.dir, "workdir", "w", "", "Working directory inside the container")
	fs.StringVarP(&f.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "Overwrite the default ENTRYPOINT of the image")
	fs.StringArrayVar(&f.groups, "group-add", nil, "Add additional groups to join")
}

func (f *rootFlags) define(fs *pflag.FlagSet, c *cli) {
	f.volumes = opts.NewList("", opts.VolumeParser(c.dir))
	fs.VarP(f.volumes, "volume", "v", "Bind mount a volume")
	f.mounts = opts.NewList("mount", opts.MountParser(c.dir))
	f.tmpfs = opts.NewList("", opts.Tmpfs)
	fs.Var(f.tmpfs, "tmpfs", "Mount a tmpfs directory")
	fs.StringArrayVar(&f.volumesFrom, "volumes-from", nil, "Mount volumes from the specified container(s)")
	f.devices = opts.NewList("", opts.Device)
	fs.Var(f.devices, "device", "Add a host device to the container")
	f.deviceRules = opts.NewList("", opts.DeviceRule)
	fs.Var(f.deviceRules, "device-cgroup-rule", "Add a rule to the cgroup allowed devices list")
	f.secrets = opts.NewList("secret", opts.SecretParser(c.dir))
	fs.Var(opts.MountOrSecret(f.mounts, f.secrets), "mount", "Attach a filesystem mount to the container")
	fs.Var(f.secrets, "secret", "Give the container a secret as a file in /run/secrets: a file or a systemd credential")
	fs.BoolVar(&f.readOnly, "read-only", false, "Mount the container's root filesystem as read only")
	f.shm = opts.NewOne("bytes", opts.Bytes)
	fs.Var(f.shm, "shm-size", "Size of /dev/shm")
}

func (f *namespaceFlags) define(fs *pflag.FlagSet) {
	f.extraHosts = opts.NewList("", opts.ExtraHost)
	fs.Var(f.extraHosts, "add-host", "Add a custom host-to-IP mapping (host:ip)")
	f.dns = opts.NewList("", opts.DNS)
	fs.Var(f.dns, "dns", "Set custom DNS servers")
	f.search = opts.NewList("", opts.DNSSearch)
	fs.Var(f.search, "dns-search", "Set custom DNS search domains")
	f.dnsOptions = opts.NewList("", opts.Any)
	fs.Var(f.dnsOptions, "dns-option", "Set DNS options")
	fs.Var(f.dnsOptions, "dns-opt", "Set DNS options")
	_ = fs.MarkHidden("dns-opt") // defined one line above
	fs.StringVarP(&f.hostname, "hostname", "h", "", "Container host name")
	fs.StringVar(&f.domainname, "domainname", "", "Container NIS domain name")
	f.pidMode = opts.NewOne("string", opts.PIDMode)
	fs.Var(f.pidMode, "pid", "PID namespace to use")
	f.ipcMode = opts.NewOne("string", opts.IPCMode)
	fs.Var(f.ipcMode, "ipc", "IPC mode to use")
	f.utsMode = opts.NewOne("string", opts.UTSMode)
	fs.Var(f.utsMode, "uts", "UTS namespace to use")
	f.cgns = opts.NewOne("string", opts.CgroupnsMode)
	fs.Var(f.cgns, "cgroupns", `Cgroup namespace to use ("host", "private")`)
}

func (f *securityFlags) define(fs *pflag.FlagSet) {
	f.capAdd = opts.NewList("", opts.Capability)
	fs.Var(f.capAdd, "cap-add", "Add Linux capabilities")
	f.capDrop = opts.NewList("", opts.Capability)
	fs.Var(f.capDrop, "cap-drop", "Drop Linux capabilities")
	fs.BoolVar(&f.privileged, "privileged", false, "Give extended privileges to this container")
	fs.StringArrayVar(&f.options, "security-opt", nil, "Security Options")
	f.sysctls = opts.NewList("map", opts.Sysctl)
	fs.Var(f.sysctls, "sysctl", "Sysctl options")
}

func (f *limitFlags) define(fs *pflag.FlagSet) {
	f.memory = opts.NewOne("bytes", opts.Bytes)
	fs.VarP(f.memory, "memory", "m", "Memory limit")
	f.swap = opts.NewOne("bytes", opts.BytesOrUnlimited)
	fs.Var(f.swap, "memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	f.reservation = opts.NewOne("bytes", opts.Bytes)
	fs.Var(f.reservation, "memory-reservation", "Memory soft limit")
	f.cpus = opts.NewOne("decimal", opts.CPUs)
	fs.Var(f.cpus, "cpus", "Number of CPUs")
	fs.Int64VarP(&f.shares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	fs.Int64Var(&f.quota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	fs.Int64Var(&f.period, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	fs.StringVar(&f.cpuset, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	fs.StringVar(&f.memoryNodes, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	fs.Int64Var(&f.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	fs.Uint16Var(&f.ioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	f.deviceWeights = opts.NewList("", opts.DeviceWeight)
	fs.Var(f.deviceWeights, "blkio-weight-device", "Block IO weight (relative device weight)")
	f.readBPS, f.writeBPS = opts.NewList("", opts.DeviceBPS), opts.NewList("", opts.DeviceBPS)
	fs.Var(f.readBPS, "device-read-bps", "Limit read rate (bytes per second) from a device")
	fs.Var(f.writeBPS, "device-write-bps", "Limit write rate (bytes per second) to a device")
	f.readIOPS, f.writeIOPS = opts.NewList("", opts.DeviceIOPS), opts.NewList("", opts.DeviceIOPS)
	fs.Var(f.readIOPS, "device-read-iops", "Limit read rate (IO per second) from a device")
	fs.Var(f.writeIOPS, "device-write-iops", "Limit write rate (IO per second) to a device")
	f.ulimits = opts.NewList("ulimit", opts.Ulimit)
	fs.Var(f.ulimits, "ulimit", "Ulimit options")
	fs.IntVar(&f.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
}
