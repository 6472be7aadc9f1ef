// Package profile turns a container into its start plan: the OCI runtime
// configuration and cleat's annex to it. What a container may do, sees and
// finds mounted is decided here, with Docker's defaults.
//
// Build is pure: everything it has to know about the machine comes in Input,
// so a plan can be computed, compared and tested anywhere. ReadHost and
// DeviceNodes gather those facts.
package profile

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Input is what Build has to know beyond the container itself. Paths are
// absolute and the host's.
type Input struct {
	Host Host

	Layers        []string // directories of the image's layers, bottom first, one for each Image.DiffIDs
	Skeleton      string   // directory of mount points below the layers; "" means none
	ContainersDir string   // the container's own directory is ContainersDir/<id>
	VolumesDir    string   // a volume's content is VolumesDir/<name>/_data
	StdioSocket   string   // of the broker
	HealthSocket  string   // of the daemon that runs health checks
	NotifyDir     string   // the directory of a container's notification socket is NotifyDir/<id>
	InitBinary    string   // bound at /sbin/docker-init for containers with Init

	// Devices are the nodes behind each spec.Device.Host, see DeviceNodes, by
	// that path. A device that is missing here is an error.
	Devices map[string][]specs.LinuxDevice

	// HostDevices are all nodes below /dev. Privileged containers get them.
	HostDevices []specs.LinuxDevice

	// JournalFields are added to every line of output, NAME=value.
	JournalFields []string
}

// Host is what a plan depends on about the machine; see ReadHost.
type Host struct {
	Arch   string // as GOARCH; "" means that of this program
	Kernel Kernel // the zero value means a kernel newer than every rule asks for

	// Hostname is the machine's: containers in its network namespace that were
	// given no other share it.
	Hostname string

	// Capabilities are those that the machine can give, with "CAP_"; nil means
	// all. Inside another container some are missing.
	Capabilities []string

	// AppArmor is set if the kernel enforces AppArmor. AppArmorProfile is the
	// name of the loaded profile that containers get by default; "" means that
	// none is loaded.
	AppArmor        bool
	AppArmorProfile string

	// MaskedPaths are masked in addition to Docker's fixed list: those of
	// /sys/devices/system/cpu/cpu*/thermal_throttle that exist.
	MaskedPaths []string
}

// Kernel is a kernel version, for example {6, 18}.
type Kernel struct{ Major, Minor uint64 }

// atLeast reports whether k is version major.minor or newer.
func (k Kernel) atLeast(major, minor uint64) bool {
	return k == Kernel{} || k.Major > major || k.Major == major && k.Minor >= minor
}
