package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/sandbox/userdb"
)

// Hooks are what Setup needs of the root filesystem.
type Hooks struct {
	// Mount mounts the root filesystem on the directory target.
	Mount func(r plan.Rootfs, target string) error

	// CopyUp fills the volume at the host's path volume, if it is empty, from
	// what the image has at path. Root is the open top of its filesystem.
	CopyUp func(root *os.File, path, volume string) error
}

// Setup is the second stage of Launch: it makes the process, which has been
// cloned into new namespaces, the payload of the container in directory dir,
// with the root filesystem mounted on the host's directory mountPoint. The payload
// keeps the given number of sockets, a decimal, that this process was given. It
// does not return unless that fails, and then it has told the first stage why.
func Setup(dir, mountPoint, sockets string, h Hooks) error {
	runtime.LockOSThread()
	n, err := strconv.Atoi(sockets)
	if err != nil {
		return fmt.Errorf("number of sockets: %w", err)
	}
	ch := inheritedChannel(childFd + n)
	err = setup(ch, n, dir, mountPoint, h)
	ch.sendError(err)
	// This is the unit's main process: the first stage writes down why it
	// fails before the service manager learns that it does.
	ch.awaitClose()
	return err
}

func setup(ch channel, sockets int, dir, mountPoint string, h Hooks) error {
	if err := harden(); err != nil {
		return err
	}
	p, err := plan.LoadStart(dir)
	if err != nil {
		return err
	}
	if err := checkPlan(p); err != nil {
		return err
	}
	if err := configureNamespaces(p.Config); err != nil {
		return err
	}
	m := newMounter(p.Config, p.Annex.Within)
	m.shm = childFd + sockets + 1
	m.secrets, m.credentials = p.Annex.Secrets, "/run/credentials/"+p.Annex.Unit
	if err := m.build(p, mountPoint, h); err != nil {
		return err
	}
	t, err := m.terminal(p.Annex.Stdio, ch)
	if err != nil {
		return err
	}
	defer t.close()
	// A working directory that the image lacks is made while the root can
	// still be written to.
	if err := enterDir(m.root, p.Config.Process.Cwd, true); err != nil {
		return err
	}
	proc, err := m.procfs()
	if err != nil {
		return err
	}
	if err := proc.setSysctls(p.Config.Linux.Sysctl); err != nil {
		return err
	}
	if err := m.hidePaths(); err != nil {
		return err
	}
	if err := m.finish(); err != nil {
		return err
	}
	if err := pivot(m.root); err != nil {
		return err
	}
	return run(ch, sockets, p, m.root, proc)
}

// harden keeps others away from this process while it has more rights than
// they, and the payload away from the keys of who started it.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set not dumpable: %w", err)
	}
	// A new, nameless keyring; without the call, keys are out of reach anyway.
	_, _, errno := unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EPERM {
		return fmt.Errorf("leave session keyring: %w", errno)
	}
	unix.Umask(0)
	return nil
}

// checkPlan makes sure of the parts without which nothing can be done.
func checkPlan(p plan.Plan) error {
	if p.Config.Process == nil || p.Config.Linux == nil {
		return errors.New("the start plan lacks its process or linux part")
	}
	return nil
}

// build makes the container's tree of mounts.
func (m *mounter) build(p plan.Plan, mountPoint string, h Hooks) error {
	if err := m.openSources(); err != nil {
		return err
	}
	if err := isolateMounts(); err != nil {
		return err
	}
	if err := h.Mount(p.Annex.Rootfs, mountPoint); err != nil {
		return err
	}
	var err error
	if m.root, err = inroot.Open(mountPoint); err != nil {
		return err
	}
	if err := m.copyUp(p.Annex.CopyUp, h); err != nil {
		return err
	}
	if err := m.mountAll(); err != nil {
		return err
	}
	if sharesMemory(p) {
		if err := m.mountShared(); err != nil {
			return err
		}
	}
	if err := m.makeDevices(); err != nil {
		return err
	}
	if p.Annex.Init != "" {
		return m.bindInit(p.Annex.Init)
	}
	return nil
}

// mountShared mounts the shared memory of another container.
func (m *mounter) mountShared() error {
	defer closeFd(m.shm)
	target, err := m.open(shmPath, inroot.Dir)
	if err != nil {
		return err
	}
	defer closeFd(target)
	if err := attach(m.shm, target); err != nil {
		return fmt.Errorf("mount %s: %w", shmPath, err)
	}
	return nil
}

// copyUp fills new volumes from the image, before anything is mounted in it.
func (m *mounter) copyUp(list []plan.CopyUp, h Hooks) error {
	if len(list) == 0 {
		return nil
	}
	fd, err := m.root.Open("/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	root := os.NewFile(uintptr(fd), "root filesystem")
	defer func() { _ = root.Close() }() // only read
	for _, c := range list {
		if err := h.CopyUp(root, c.Target, c.Volume); err != nil {
			return fmt.Errorf("fill volume for %s: %w", c.Target, err)
		}
	}
	return nil
}

// terminal opens the container's terminal, hands its master to the parent and
// makes it this process's stdio. Without one, a stdin that is the host's null
// device becomes the container's.
func (m *mounter) terminal(s plan.Stdio, ch channel) (terminal, error) {
	if !s.TTY {
		if s.OpenStdin {
			return terminal{-1, -1}, nil
		}
		return terminal{-1, -1}, m.ownNull()
	}
	dir, ptmx := m.pts, "ptmx"
	if dir < 0 {
		dir, ptmx = m.root.Fd(), "dev/pts/ptmx"
	}
	t, err := openTerminal(dir, ptmx, s.Height, s.Width)
	if err != nil {
		return t, err
	}
	if m.dev >= 0 {
		if err := m.console(t); err != nil {
			return t, err
		}
	}
	if err := t.become(); err != nil {
		return t, err
	}
	return t, ch.send(msgTerminal, "", t.master)
}

func (m *mounter) ownNull() error {
	fd, err := m.root.OpenReal("/dev/null", unix.O_RDWR)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	return unix.Dup3(fd, 0, 0)
}

// procfs returns a procfs of the container's PID namespace.
func (m *mounter) procfs() (procfs, error) {
	if m.proc >= 0 {
		return procfs(m.proc), nil
	}
	return newProcfs()
}

// identity is who a process becomes and what it may do.
type identity struct {
	user userdb.User
	priv privileges
}

// identify enters the working directory and finds out who the plan's process is,
// in a container whose root is that of the calling thread.
func identify(p plan.Plan, root inroot.Root) (identity, error) {
	var id identity
	if err := enterDir(root, p.Config.Process.Cwd, false); err != nil {
		return id, err
	}
	if err := checkDir(); err != nil {
		return id, err
	}
	db, err := readUserDB(root)
	if err != nil {
		return id, err
	}
	if id.user, err = db.Resolve(p.Annex.User, p.Annex.Groups); err != nil {
		return id, err
	}
	id.priv, err = privilegesOf(p.Config.Process, p.Annex.Seccomp, id.user.UID)
	return id, err
}

// run makes the process, whose namespaces are complete, the payload: it gives
// up all rights that the payload does not have, waits for the first stage's
// word, and executes.
func run(ch channel, sockets int, p plan.Plan, root inroot.Root, proc procfs) error {
	process := p.Config.Process
	id, err := identify(p, root)
	if err != nil {
		return err
	}
	if err := giveStdio(id.user.UID, p.Annex.Stdio.TTY); err != nil {
		return err
	}
	setUmask(process.User)
	if err := unignoreSignals(); err != nil {
		return err
	}
	if err := setRlimits(process.Rlimits, ch.warn); err != nil {
		return err
	}
	// This process's own environment is LaunchOptions.Env.
	env := append(os.Environ(), process.Env...)
	if sockets > 0 {
		env = withListenPID(os.Environ(), process.Env)
	}
	c := &command{argv: process.Args, env: environment(env, id.user.Home)}
	err = become(id.user, id.priv, proc, func() error {
		if err := c.find(); err != nil {
			return err
		}
		if p.Annex.Init != "" {
			c.path, c.argv = initPath, append([]string{initPath, "--"}, c.argv...)
		}
		return await(ch, sockets)
	})
	if err != nil {
		return err
	}
	return c.exec()
}

func setUmask(u specs.User) {
	mask := uint32(0o022)
	if u.Umask != nil {
		mask = *u.Umask
	}
	unix.Umask(int(mask & 0o777))
}

// await tells the first stage that all is ready and waits for its word. If that
// has gone, so has the reason to go on. Of all descriptors, the payload gets its
// stdio and its sockets.
func await(ch channel, sockets int) error {
	if err := unix.CloseRange(uint(childFd+sockets), ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close descriptors: %w", err)
	}
	if err := ch.send(msgReady, ""); err != nil {
		return err
	}
	m, err := ch.recv()
	if err != nil {
		return err
	}
	if m.kind != msgGo {
		return errors.New("the first stage has gone")
	}
	return nil
}

// giveStdio makes the pipes of stdio the user's, who could not open /dev/stdout
// otherwise, and its terminal if that is the container's own.
func giveStdio(uid uint32, ownTerminal bool) error {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("stat descriptor %d: %w", fd, err)
		}
		isPTS := st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) >= 136 && unix.Major(st.Rdev) <= 143
		if st.Uid == uid || st.Mode&unix.S_IFMT != unix.S_IFIFO && !(isPTS && ownTerminal) {
			continue
		}
		if err := unix.Fchown(fd, int(uid), -1); err != nil {
			return fmt.Errorf("give descriptor %d to user %d: %w", fd, uid, err)
		}
	}
	return nil
}
