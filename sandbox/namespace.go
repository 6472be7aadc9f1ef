package sandbox

import (
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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
}

// namespacesOf reads the namespaces of a plan. Pid returns the process of
// another container.
func namespacesOf(p plan.Plan, pid func(id string) (int, error)) (namespaces, error) {
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
		joined[j.Namespace] = "/proc/" + strconv.Itoa(n) + "/ns/" + kind.file
	}
	var ns namespaces
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

// configure sets what a new UTS and a new network namespace lack.
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
