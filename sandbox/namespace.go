package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// nsKind is how the kernel calls a type of namespace.
type nsKind struct {
	flag uintptr // of clone(2)
	file string  // in /proc/<pid>/ns
}

func kindOf(t specs.LinuxNamespaceType) (nsKind, error) {
	switch t {
	case specs.MountNamespace:
		return nsKind{unix.CLONE_NEWNS, "mnt"}, nil
	case specs.PIDNamespace:
		return nsKind{unix.CLONE_NEWPID, "pid"}, nil
	case specs.NetworkNamespace:
		return nsKind{unix.CLONE_NEWNET, "net"}, nil
	case specs.IPCNamespace:
		return nsKind{unix.CLONE_NEWIPC, "ipc"}, nil
	case specs.UTSNamespace:
		return nsKind{unix.CLONE_NEWUTS, "uts"}, nil
	case specs.CgroupNamespace:
		return nsKind{unix.CLONE_NEWCGROUP, "cgroup"}, nil
	}
	return nsKind{}, fmt.Errorf("%s namespace: %w", t, spec.ErrUnsupport)
}

// join is a namespace to enter.
type join struct {
	kind nsKind
	path string
}

// namespaces are those of a container. What is in neither field is shared with
// the host.
type namespaces struct {
	create uintptr // flags of clone(2)
	joins  []join
	ipcOf  int // process whose IPC namespace is joined by way of its container, 0 for none
}

// namespacesOf reads the namespaces of a plan. Pid returns the process of
// another container.
func namespacesOf(p plan.Plan, pid func(id string) (int, error)) (namespaces, error) {
	var ns namespaces
	joined := make(map[specs.LinuxNamespaceType]string)
	for _, j := range p.Annex.Join {
		n, err := pid(j.Container)
		if err != nil {
			return namespaces{}, fmt.Errorf("join %s namespace of container %s: %w", j.Namespace, spec.ShortID(j.Container), err)
		}
		kind, err := kindOf(j.Namespace)
		if err != nil {
			return namespaces{}, err
		}
		if j.Namespace == specs.IPCNamespace {
			ns.ipcOf = n
		}
		joined[j.Namespace] = "/proc/" + strconv.Itoa(n) + "/ns/" + kind.file
	}
	for _, n := range p.Config.Linux.Namespaces {
		if n.Path != "" {
			joined[n.Type] = n.Path
			continue
		}
		kind, err := kindOf(n.Type)
		if err != nil {
			return ns, err
		}
		if joined[n.Type] == "" {
			ns.create |= kind.flag
		}
	}
	for t, path := range joined {
		kind, err := kindOf(t)
		if err != nil {
			return ns, err
		}
		ns.joins = append(ns.joins, join{kind, path})
	}
	if ns.create&unix.CLONE_NEWNS == 0 {
		return ns, fmt.Errorf("a container needs a mount namespace of its own: %w", spec.ErrUnsupport)
	}
	return ns, nil
}

// enter makes the calling thread, and what it clones, a member of the joined
// namespaces; a PID namespace is entered by clones alone. The thread must be
// locked and is of no further use for anything else.
func (ns namespaces) enter() error {
	for _, j := range ns.joins {
		f, err := os.Open(j.path)
		if err != nil {
			return fmt.Errorf("open namespace: %w", err)
		}
		err = unix.Setns(int(f.Fd()), int(j.kind.flag))
		_ = f.Close() // only entered
		if err != nil {
			return fmt.Errorf("enter namespace %s: %w", j.path, err)
		}
	}
	return nil
}

// shmPath is where a container's shared memory is.
const shmPath = "/dev/shm"

// sharesMemory reports whether a container has the shared memory of the one
// whose IPC namespace it joins: by the same wish, unless it has its own.
func sharesMemory(p plan.Plan) bool {
	own := slices.ContainsFunc(p.Config.Mounts, func(m specs.Mount) bool { return path.Clean(m.Destination) == shmPath })
	return !own && slices.ContainsFunc(p.Annex.Join, func(j plan.Join) bool { return j.Namespace == specs.IPCNamespace })
}

// sharedMemory returns a detached copy of the mount at /dev/shm of the container
// that process pid is of. The caller closes it.
func sharedMemory(pid int) (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread changes its mount namespace and ends with the goroutine.
		runtime.LockOSThread()
		fd, err = cloneSharedMemory(pid)
	}()
	<-done
	if err != nil {
		return -1, fmt.Errorf("share memory with process %d: %w", pid, err)
	}
	return fd, nil
}

func cloneSharedMemory(pid int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	defer closeFd(pidfd)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, err
	}
	if err := unix.Setns(pidfd, unix.CLONE_NEWNS); err != nil {
		return -1, err
	}
	root, err := inroot.Open("/")
	if err != nil {
		return -1, err
	}
	defer root.Close()
	shm, err := root.OpenReal(shmPath, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer closeFd(shm)
	if kind, err := fsType(shm); err != nil || kind != unix.TMPFS_MAGIC {
		return -1, errors.Join(err, fmt.Errorf("%s is no tmpfs: %w", shmPath, spec.ErrInvalid))
	}
	fd, err := unix.OpenTree(shm, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// configureNamespaces sets what a new UTS and a new network namespace lack.
func configureNamespaces(config *specs.Spec) error {
	for _, n := range config.Linux.Namespaces {
		if n.Path != "" {
			continue
		}
		switch n.Type {
		case specs.UTSNamespace:
			if err := setNames(config); err != nil {
				return err
			}
		case specs.NetworkNamespace:
			if err := loopbackUp(); err != nil {
				return err
			}
		}
	}
	return nil
}

func setNames(config *specs.Spec) error {
	if config.Hostname != "" {
		if err := unix.Sethostname([]byte(config.Hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", config.Hostname, err)
		}
	}
	if config.Domainname != "" {
		if err := unix.Setdomainname([]byte(config.Domainname)); err != nil {
			return fmt.Errorf("set domain name %q: %w", config.Domainname, err)
		}
	}
	return nil
}

// loopbackUp brings up the loopback interface, to which the kernel then gives
// its addresses.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	defer closeFd(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read flags of loopback: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}
