package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// Below the host's cgroup lie that of its systemd, the root of the cgroup
// namespace, and that of the commands which entered the host. The latter must
// not lie in systemd's tree, which is systemd's alone.
const (
	systemCgroup = "system"
	clientCgroup = "client"
)

// cgroupMount returns where the unified hierarchy is mounted: at
// /sys/fs/cgroup, or below it on machines that also use version 1.
func cgroupMount() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the cgroup hierarchy: %w", err)
	}
	if points := mountPoints(string(data), "cgroup2"); len(points) > 0 {
		return points[0], nil
	}
	return "", fmt.Errorf("cgroup version 2 is not mounted; mount it: "+
		"'mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified': %w", spec.ErrUnsupport)
}

// mountPoints returns where file systems of a type are mounted, in order, from
// the text of /proc/<pid>/mountinfo, see proc_pid_mountinfo(5).
func mountPoints(mountinfo, fstype string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		mount, super, ok := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if !ok || len(fields) < 5 || !strings.HasPrefix(super, fstype+" ") {
			continue
		}
		points = append(points, unescape(fields[4]))
	}
	return points
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// makeCgroup makes the host's cgroup and, where nobody says no, gives it the
// controllers that the hierarchy has. It returns those that it had to turn on in
// the machine's hierarchy, for undelegate.
func makeCgroup(name string) (dir string, delegated []string, err error) {
	base, err := cgroupMount()
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(base, name)
	for _, sub := range []string{systemCgroup, clientCgroup} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", nil, fmt.Errorf("make cgroup: %w", err)
		}
	}
	delegated = delegate(base)
	delegate(dir)
	return dir, delegated, nil
}

// delegate turns on all controllers for the children of a cgroup and returns
// those that were off. It does nothing where processes live in the cgroup itself,
// as in a container: then the host works, only limits do not, of which the
// commands that set one warn.
func delegate(dir string) (turnedOn []string) {
	control := filepath.Join(dir, "cgroup.subtree_control")
	on := readWords(control)
	for _, c := range readWords(filepath.Join(dir, "cgroup.controllers")) {
		if !slices.Contains(on, c) && writeControl(control, "+"+c) == nil {
			turnedOn = append(turnedOn, c)
		}
	}
	return turnedOn
}

// undelegate takes delegate back. The kernel refuses to turn off a controller
// that another child uses, which is what is wanted.
func undelegate(dir string, controllers []string) {
	for _, c := range controllers {
		_ = writeControl(filepath.Join(dir, "cgroup.subtree_control"), "-"+c)
	}
}

// readWords returns the words of a control file, none if it cannot be read.
func readWords(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// writeControl writes to a control file of the kernel, which must exist.
func writeControl(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteString(text)
	return err
}

// killCgroup kills everything in the cgroup and waits until it is empty. One
// that does not exist is empty.
func killCgroup(ctx context.Context, dir string) error {
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	defer func() { _ = events.Close() }() // only read
	if err := writeControl(filepath.Join(dir, "cgroup.kill"), "1"); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", dir, err)
	}
	for {
		buf := make([]byte, 256)
		n, err := events.ReadAt(buf, 0)
		if err != nil && n == 0 {
			return fmt.Errorf("read state of cgroup %s: %w", dir, err)
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		// The kernel raises POLLPRI when the file's content has changed.
		if err := pollFD(ctx, int(events.Fd()), unix.POLLPRI); err != nil {
			return fmt.Errorf("wait for the processes in cgroup %s: %w", dir, err)
		}
	}
}

// removeCgroup removes an empty cgroup and those below it.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// pollFD waits until fd has one of the events or ctx ends.
func pollFD(ctx context.Context, fd int, events int16) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	poked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(poked)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd of our own takes it
	})
	defer func() {
		if !stop() {
			<-poked // it still uses wake
		}
		_ = unix.Close(wake)
	}()
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case fds[1].Revents != 0:
			return context.Cause(ctx)
		default:
			return nil
		}
	}
}
