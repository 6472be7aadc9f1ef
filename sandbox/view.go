package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

// View is the file system of a container as seen through a descriptor, from
// outside of the container: the calling process has no mount of it and stays
// where it is. Paths are to be resolved with openat2(2) beneath Root.
type View struct {
	root inroot.Root
	ns   int // keeps the mounts in place while the View is open; -1 if it need not
}

// Root returns the descriptor of "/", which only stands for it (O_PATH). It stays
// the View's.
func (v *View) Root() int { return v.root.Fd() }

// Close gives the file system up.
func (v *View) Close() {
	v.root.Close()
	closeFd(v.ns)
}

// Owner returns the numbers of the plan's user, as the container's own files have
// them.
func (v *View) Owner(user string) (uid, gid uint32, err error) {
	db, err := readUserDB(v.root)
	if err != nil {
		return 0, 0, err
	}
	u, err := db.Resolve(user, nil)
	return u.UID, u.GID, err
}

// Scope says how much of a container's file system is in a View.
type Scope int

// The scopes.
const (
	Everything Scope = iota // with volumes, bind mounts and, if it runs, all its mounts
	RootfsOnly              // the root file system alone, and what lies below mount points
	ImageOnly               // the layers of the image, without the container's own
)

// ViewRunning opens the file system of a running container, given its main
// process and service unit. If that process is not there or is another unit's,
// the error is spec.ErrConflict.
func ViewRunning(pid int, unit string, scope Scope) (*View, error) {
	pidfd, cgroup, err := ExecRequest{PID: pid, Unit: unit}.openContainer()
	if err != nil {
		return nil, err
	}
	defer closeFd(pidfd)
	defer closeFd(cgroup)
	ns, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.PidfdSendSignal(pidfd, 0, nil, 0) // so it was this process's
	}
	if err != nil {
		closeFd(ns)
		return nil, fmt.Errorf("container process %d: %w: %w", pid, spec.ErrConflict, err)
	}
	v := &View{ns: ns}
	err = onOwnThread(func() error { return v.enter(scope) })
	if err != nil {
		closeFd(ns)
		return nil, fmt.Errorf("open file system of container: %w", err)
	}
	return v, nil
}

// enter opens the root from within the container's mount namespace. That is not
// /proc/PID/root, which may be where the payload has gone with chroot(2).
func (v *View) enter(scope Scope) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Setns(v.ns, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	var err error
	if scope == Everything {
		v.root, err = inroot.Open("/")
		return err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone root mount: %w", err)
	}
	v.root = inroot.At(fd)
	return nil
}

// ViewOptions says how to open the file system of a container that does not run.
type ViewOptions struct {
	Dir        string // of the container, with the plan
	MountPoint string // directory of the host, on which nothing will be seen
	Scope      Scope
	Hooks      Hooks

	// Write puts what is changed into the container's own layer. Otherwise it is
	// lost, and the container may be started meanwhile.
	Write bool
}

// ViewStopped opens the file system of a container that does not run. It is
// mounted in a mount namespace that no process is in: the host has no mount of
// it, and it vanishes with the View, also if this process is killed.
func ViewStopped(o ViewOptions) (*View, error) {
	p, err := plan.LoadStart(o.Dir)
	if err != nil {
		return nil, err
	}
	v := &View{ns: -1}
	if err := onOwnThread(func() error { return v.assemble(p, o) }); err != nil {
		closeFd(v.ns)
		return nil, fmt.Errorf("open file system of container: %w", err)
	}
	return v, nil
}

// assemble mounts the file system in a namespace that the thread makes.
func (v *View) assemble(p plan.Plan, o ViewOptions) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // its root and umask are its own with that
		return fmt.Errorf("make mount namespace: %w", err)
	}
	unix.Umask(0)
	var err error
	if v.ns, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	m := newMounter(bindsOnly(p.Config, o.Scope), p.Annex.Within)
	if err := m.openSources(); err != nil {
		return err
	}
	if err := isolateMounts(); err != nil {
		return err
	}
	target, err := o.mountRootfs(p.Annex.Rootfs)
	if err != nil {
		return err
	}
	if m.root, err = inroot.Open(target); err != nil {
		return err
	}
	v.root = m.root
	if err := m.fill(p, o); err != nil {
		v.root.Close()
		return err
	}
	return nil
}

// fill mounts volumes and bind mounts in the root file system.
func (m *mounter) fill(p plan.Plan, o ViewOptions) error {
	if o.Scope == Everything {
		if err := m.copyUp(p.Annex.CopyUp, o.Hooks); err != nil {
			return err
		}
	}
	if err := m.mountAll(); err != nil {
		return err
	}
	return m.finish()
}

// bindsOnly returns what of the configuration concerns a container without
// processes: a tmpfs would be empty, and the kernel's file systems show the host.
func bindsOnly(config *specs.Spec, scope Scope) *specs.Spec {
	c := &specs.Spec{Root: config.Root, Linux: &specs.Linux{}}
	if config.Linux != nil {
		c.Linux.MountLabel = config.Linux.MountLabel
	}
	if scope != Everything {
		return c
	}
	for _, m := range config.Mounts {
		if m.Type == "bind" {
			c.Mounts = append(c.Mounts, m)
		}
	}
	return c
}

// mountRootfs mounts the root file system and returns where. To be read it is
// mounted below an upper layer in memory, which takes the mount points that are
// missing: the container's own layer stays as it is and free for a start.
func (o ViewOptions) mountRootfs(r plan.Rootfs) (string, error) {
	if o.Write {
		return o.MountPoint, o.Hooks.Mount(r, o.MountPoint)
	}
	if err := unix.Mount("tmpfs", o.MountPoint, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return "", fmt.Errorf("mount tmpfs: %w", err)
	}
	sub := func(name string) string { return filepath.Join(o.MountPoint, name) }
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(sub(name), 0o755); err != nil {
			return "", err
		}
	}
	lower := r.Lower
	if o.Scope != ImageOnly {
		lower = append([]string{r.Upper}, r.All()...)
	}
	scratch := plan.Rootfs{Lower: lower, Upper: sub("upper"), Work: sub("work")}
	return sub("root"), o.Hooks.Mount(scratch, sub("root"))
}

// onOwnThread calls f on a thread that ends with it, so that f may change the
// thread's namespaces.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		// The main thread would not end. While this goroutine has it, the next
		// one is on another.
		defer runtime.UnlockOSThread()
		done <- onOwnThread(f)
	}()
	return <-done
}
