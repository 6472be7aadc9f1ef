package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// appArmorProfiles are those that containers get by default, the first one that
// is loaded: cleat's packages bring one, Docker's daemon loads the other.
const appArmorProfiles = "cleat-default docker-default"

// ReadHost returns the facts about this machine.
func ReadHost() (Host, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Host{}, fmt.Errorf("read kernel version: %w", err)
	}
	h := Host{Hostname: unix.ByteSliceToString(uts.Nodename[:])}
	var err error
	if h.Kernel, err = parseKernel(unix.ByteSliceToString(uts.Release[:])); err != nil {
		return Host{}, err
	}
	if h.Capabilities, err = boundingSet(); err != nil {
		return Host{}, err
	}
	if h.MaskedPaths, err = filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"); err != nil {
		return Host{}, err
	}
	enabled, err := readIfThere("/sys/module/apparmor/parameters/enabled")
	if err != nil {
		return Host{}, err
	}
	if h.AppArmor = strings.HasPrefix(enabled, "Y"); h.AppArmor {
		profiles, err := readIfThere("/sys/kernel/security/apparmor/profiles")
		if err != nil {
			return Host{}, err
		}
		h.AppArmorProfile = loadedProfile(profiles)
	}
	return h, nil
}

// loadedProfile returns the default profile among those that the kernel lists, one
// a line as "name (mode)", or "".
func loadedProfile(list string) string {
	for _, name := range strings.Fields(appArmorProfiles) {
		if strings.Contains("\n"+list, "\n"+name+" (") {
			return name
		}
	}
	return ""
}

// parseKernel reads a release such as "6.18.2-1-amd64".
func parseKernel(release string) (k Kernel, err error) {
	if _, err := fmt.Sscanf(release, "%d.%d", &k.Major, &k.Minor); err != nil {
		return Kernel{}, fmt.Errorf("parse kernel version %q: %w", release, err)
	}
	return k, nil
}

// boundingSet returns the capabilities that this process can pass on.
func boundingSet() ([]string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(status), "\nCapBnd:")
	line, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return nil, fmt.Errorf("parse capabilities %q: %w", line, err)
	}
	names := []string{}
	for _, c := range capability.ListKnown() {
		if bits&(1<<uint(c)) != 0 {
			names = append(names, capName(c))
		}
	}
	return names, nil
}

func readIfThere(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

// ReadResolvConf returns the host's settings for ResolvConf. Where the host asks
// systemd-resolved on its loopback, a container with a network of its own needs
// the servers that resolved asks, as in Docker. A host without the file has no
// settings.
func ReadResolvConf(n spec.Network) (string, error) {
	text, err := readIfThere("/etc/resolv.conf")
	if err != nil || isHost(n.Mode) {
		return text, err
	}
	all := func(string) bool { return true }
	if slices.Equal(settings(text, "nameserver", all), []string{"127.0.0.53"}) {
		if behind, err := readIfThere("/run/systemd/resolve/resolv.conf"); err != nil || behind != "" {
			return behind, err
		}
	}
	return text, nil
}

// DeviceNodes returns the nodes behind the host paths of devices, by that path:
// one for a device node or a link to it, those inside for a directory.
func DeviceNodes(devices []spec.Device) (map[string][]specs.LinuxDevice, error) {
	out := map[string][]specs.LinuxDevice{}
	for _, d := range devices {
		root := filepath.Clean(d.Host)
		path, err := filepath.EvalSymlinks(root)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("device %s: %w", d.Host, spec.ErrNotFound)
		}
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Host, err)
		}
		nodes, err := nodesBelow(path, nil)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Host, err)
		}
		if len(nodes) == 0 {
			return nil, fmt.Errorf("%s is not a device node: %w", d.Host, spec.ErrInvalid)
		}
		for i := range nodes {
			nodes[i].Path = root + strings.TrimPrefix(nodes[i].Path, path)
		}
		out[d.Host] = nodes
	}
	return out, nil
}

// notDevices are the parts of /dev that are file systems of their own or the
// terminal of this process.
const notDevices = "pts shm fd mqueue console .lxc .lxd-mounts .udev"

// HostDevices returns all device nodes below /dev.
func HostDevices() ([]specs.LinuxDevice, error) {
	return nodesBelow("/dev", strings.Fields(notDevices))
}

// nodesBelow walks path. What vanishes meanwhile is left out.
func nodesBelow(path string, except []string) (nodes []specs.LinuxDevice, err error) {
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(except, entry.Name()):
			return fs.SkipDir
		case entry.Type()&fs.ModeDevice == 0 || slices.Contains(except, entry.Name()):
			return nil
		}
		node, err := nodeAt(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoDevice) {
			return nil
		}
		nodes = append(nodes, node)
		return err
	})
	return nodes, err
}

// errNoDevice says that a path does not lead to a device node. A directory may
// list one all the same, where another file is mounted over it.
var errNoDevice = errors.New("not a device node")

func nodeAt(path string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	mode := os.FileMode(st.Mode & 0o777)
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, fmt.Errorf("%s: %w", path, errNoDevice)
	}
	return specs.LinuxDevice{
		Path: path, Type: kind,
		Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}, nil
}
