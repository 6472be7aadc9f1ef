package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

// Paths inside the host, on its private /run.
const (
	ownDir       = "/run/cleat-host"
	ownUnits     = ownDir + "/units" // what /usr/lib/systemd/system is elsewhere
	busDir       = ownDir + "/dbus"  // also in dbus.service and dbus.conf
	emptyDir     = ownDir + "/empty"
	generators   = ownDir + "/generators" // cleat's alone
	notifySocket = ownDir + "/notify"     // also in cleat-host-ready.service
)

// controlFD is where the first process finds its end of the control socket.
const controlFD = 3

// unitPath is systemd's search path for units, without the machine's.
const unitPath = "/etc/systemd/system.control:/run/systemd/system.control:/run/systemd/transient:" +
	"/etc/systemd/system:/run/systemd/system:/run/systemd/generator:" + ownUnits

// Init is called first thing in main. In a process that this package started
// to be a host's PID 1 it does not return: it becomes systemd. In a command that
// was brought into a host it ties its life to that of the process outside.
func Init() {
	if len(os.Args) == 2 && os.Args[0] == bootName {
		err := bootInside(os.Args[1])
		// If even that fails, the exit status tells.
		_, _ = unix.Write(controlFD, []byte(err.Error()))
		os.Exit(1)
	}
	dieWithParent()
}

// bootInside sets up the first process of a host and executes systemd. It
// returns only if that fails; the namespace and all mounts end with the process.
func bootInside(arg string) error {
	unix.CloseOnExec(controlFD)
	var p bootPlan
	if err := json.Unmarshal([]byte(arg), &p); err != nil {
		return fmt.Errorf("decode the boot plan: %w", err)
	}
	unix.Umask(0o022)
	for _, step := range []func(bootPlan) error{
		mountKernel, protectSysctl, mountEtc, hideDevices, mountRun, mountJournal, writeUnits, writeGenerator, writeConf, handOutNotify,
	} {
		if err := step(p); err != nil {
			return err
		}
	}
	// Until the journal runs, systemd logs to /dev/kmsg, which is the boot log.
	argv := []string{"systemd", "--system", "--unit=multi-user.target", "--log-target=journal-or-kmsg", "--show-status=no"}
	exe := filepath.Join(p.Systemd, "systemd")
	return fmt.Errorf("execute %s: %w", exe, unix.Exec(exe, argv, systemdEnv()))
}

func systemdEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"container=cleat", // see https://systemd.io/CONTAINER_INTERFACE
		"SYSTEMD_UNIT_PATH=" + unitPath,
		"SYSTEMD_GENERATOR_PATH=" + generators,
		"SYSTEMD_ENVIRONMENT_GENERATOR_PATH=" + emptyDir,
	}
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

func mount(fstype, target string, flags uintptr, data string) error {
	if err := unix.Mount(fstype, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, target, err)
	}
	return nil
}

// mountKernel gives the host its own view of processes, cgroups and network.
// Mounts that the machine makes later still show up inside, never the reverse.
func mountKernel(p bootPlan) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach from the machine's mounts: %w", err)
	}
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mount("proc", "/proc", quiet, ""); err != nil {
		return err
	}
	if p.PrivateNetwork { // /sys/class/net shows the namespace of the mount's maker
		if err := mount("sysfs", "/sys", quiet, ""); err != nil {
			return err
		}
	}
	for { // the machine may have mounted several things here
		err := unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) {
			break
		}
		if err != nil {
			return fmt.Errorf("unmount /sys/fs/cgroup: %w", err)
		}
	}
	return mount("cgroup2", "/sys/fs/cgroup", quiet, "")
}

// mountEtc puts the host's own configuration of systemd over the machine's, and
// supplies what the machine lacks without writing to its /etc.
func mountEtc(p bootPlan) error {
	id, err := machineID(p.Dirs.Extra)
	if err != nil {
		return err
	}
	missing := id != "" && !fsx.Exists("/etc/machine-id")
	if !fsx.Exists("/etc/systemd") {
		missing = true
		if err := os.MkdirAll(filepath.Join(p.Dirs.Extra, "systemd"), 0o755); err != nil {
			return err
		}
	}
	switch {
	case missing:
		// Read-only: a write would else end up where nobody looks for it.
		if err := mount("overlay", "/etc", unix.MS_RDONLY, "lowerdir="+overlayPath(p.Dirs.Extra)+":/etc"); err != nil {
			return err
		}
	case id != "":
		if err := bind(id, "/etc/machine-id"); err != nil {
			return err
		}
	}
	if err := bind(p.Dirs.Etc, "/etc/systemd"); err != nil {
		return err
	}
	return bind(p.Dirs.Units, "/etc/systemd/system")
}

// overlayPath escapes what separates the lower directories of an overlay.
func overlayPath(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// machineID returns a file with a machine ID for a machine that has none, see
// machine-id(5), or "" if it has one. It is made once for a host.
func machineID(dir string) (string, error) {
	path := filepath.Join(dir, "machine-id")
	if have, err := os.ReadFile("/etc/machine-id"); err == nil && len(strings.TrimSpace(string(have))) == 32 {
		// An overlay must not bring back an ID from times when there was none.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return "", nil
	}
	if fsx.Exists(path) {
		return path, nil
	}
	uuid, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return "", fmt.Errorf("make a machine ID: %w", err)
	}
	id := strings.ReplaceAll(strings.TrimSpace(string(uuid)), "-", "")
	if err := fsx.WriteFile(path, []byte(id+"\n"), 0o444); err != nil {
		return "", fmt.Errorf("make a machine ID: %w", err)
	}
	return path, nil
}

// hideDevices keeps systemd from the machine's console and kernel log. What it
// says there before the journal runs goes to the boot log.
func hideDevices(p bootPlan) error {
	if fsx.Exists("/dev/console") {
		if err := bind(os.DevNull, "/dev/console"); err != nil {
			return err
		}
	}
	if fsx.Exists("/dev/kmsg") {
		return bind(p.Dirs.BootLog, "/dev/kmsg")
	}
	return nil
}

// mountRun gives the host an empty /run. The machine's name servers stay
// reachable where /etc/resolv.conf leads into it.
func mountRun(bootPlan) error {
	keep := -1
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err == nil && strings.HasPrefix(resolv, "/run/") {
		if keep, err = unix.Open(resolv, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open %s: %w", resolv, err)
		}
		defer func() { _ = unix.Close(keep) }()
	}
	if err := mount("tmpfs", "/run", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=50%"); err != nil {
		return err
	}
	// systemd makes the credentials of a service in a mount namespace beside its own,
	// and relies on seeing them: in containers it leaves it to others to arrange for that.
	if err := unix.Mount("", "/run", "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts below /run: %w", err)
	}
	for _, dir := range []string{"/run/lock", "/run/log/journal", "/run/user", ownUnits, busDir, emptyDir, generators, "/run/systemd"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod("/run/lock", 0o777|os.ModeSticky); err != nil {
		return err
	}
	if keep < 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(resolv), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(resolv, nil, 0o644); err != nil {
		return err
	}
	return bind(fmt.Sprintf("/proc/self/fd/%d", keep), resolv)
}

// mountJournal puts the journal of the host on the disk, below its root, where
// it has room. It goes to where journald keeps a volatile journal, as that
// directory is ours to make; the machine's journal is hidden from readers.
func mountJournal(p bootPlan) error {
	if err := bind(p.Dirs.Journal, "/run/log/journal"); err != nil {
		return err
	}
	if !fsx.Exists("/var/log/journal") {
		return nil
	}
	return mount("tmpfs", "/var/log/journal", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4k")
}

// handOutNotify makes the socket on which a unit says that the host is up, and hands
// it to the process that waits for that outside.
func handOutNotify(bootPlan) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the notification socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: notifySocket}); err != nil {
		return fmt.Errorf("bind the notification socket: %w", err)
	}
	if err := unix.Sendmsg(controlFD, []byte{'N'}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("hand out the notification socket: %w", err)
	}
	return nil
}
