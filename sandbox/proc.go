package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// procfs is a descriptor of the root of a procfs that was made here: whatever a
// container mounts or links over its own /proc, writes through this descriptor
// go to the kernel (CVE-2019-16884, CVE-2025-52881).
type procfs int

// newProcfs makes a procfs of the calling thread's PID namespace that is
// mounted nowhere. The caller closes it.
func newProcfs() (procfs, error) {
	fd, err := mountNew("proc", "proc", nil, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, err
	}
	return procfs(fd), nil
}

// write writes value to the file name, which exists.
func (p procfs) write(name, value string) error {
	fd, err := openBeneath(int(p), name, unix.O_WRONLY|unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return fmt.Errorf("open /proc/%s: %w", name, err)
	}
	defer closeFd(fd)
	kind, err := fsType(fd)
	if err != nil {
		return err
	}
	if kind != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("/proc/%s is not of procfs: %w", name, spec.ErrInvalid)
	}
	if _, err := fdWriter(fd).Write([]byte(value)); err != nil {
		return fmt.Errorf("write %q to /proc/%s: %w", value, name, err)
	}
	return nil
}

// setSysctls sets the kernel parameters of the container's namespaces.
func (p procfs) setSysctls(params map[string]string) error {
	for name, value := range params {
		if err := p.write("sys/"+sysctlPath(name), value); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// sysctlPath turns the name of a parameter into a path. Either dots separate
// its parts, or slashes, which allows for dots in the name of an interface.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// setLabels has the next execve(2) of the calling thread take the security
// labels; "" leaves one as it is.
func (p procfs) setLabels(appArmor, seLinux string) error {
	if appArmor != "" {
		err := p.write("thread-self/attr/apparmor/exec", "exec "+appArmor)
		if errors.Is(err, unix.ENOENT) { // before Linux 5.8
			err = p.write("thread-self/attr/exec", "exec "+appArmor)
		}
		if err != nil {
			return fmt.Errorf("apply AppArmor profile %q: %w", appArmor, err)
		}
	}
	if seLinux != "" {
		if err := p.write("thread-self/attr/exec", seLinux); err != nil {
			return fmt.Errorf("apply SELinux label %q: %w", seLinux, err)
		}
	}
	return nil
}
