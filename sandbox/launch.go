package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/plan"
)

// VerbSetup is the first argument of the second stage, see Setup. Three further
// ones are the arguments of that function.
const VerbSetup = "setup"

// LaunchOptions say how a container is started.
type LaunchOptions struct {
	Dir        string // of the container; the plan is in it
	MountPoint string // a directory of the host, the same for all containers: nothing is seen there outside the container

	// NotifySocket is the service manager's, $NOTIFY_SOCKET; "" for none.
	NotifySocket string

	// ReadyLater says that somebody else tells the service manager that the
	// container is ready.
	ReadyLater bool

	// Env is what the payload gets beside the plan's variables, which win.
	Env []string

	// Sockets are what the payload finds from descriptor 3 on, with what
	// sd_listen_fds(3) looks for in its environment; SocketNames are their names.
	// They stay Launch's caller's.
	Sockets     []int
	SocketNames []string

	// PID returns the process of another container that runs.
	PID func(id string) (int, error)

	// Connect connects a new network namespace, that of process pid; nil for a
	// container on no network. The payload does not run before it returns.
	Connect func(pid int) error

	// Register hands the far ends of the payload's stdio over. Pid is that of
	// the payload. The files stay Launch's.
	Register func(pid int, s Streams) error

	// Starting is called when only the exec is left to do, before the service
	// manager is told that the container runs. From then on that may run the
	// command that records the end of the run.
	Starting func(pid int) error

	// Started is called once the payload runs. It may have ended already.
	Started func() error

	// Failed is called with the reason if the container cannot be started,
	// before the service manager can see that: its next command, which records
	// how the run ended, then finds what is written here.
	Failed func(err error)

	// Warn is called with a sentence about what was asked for and cannot be
	// had, but is no reason not to start.
	Warn func(sentence string)
}

// Streams are the far ends of a payload's stdio.
type Streams struct {
	Master *os.File // of the terminal; then the others are nil

	Stdin          *os.File // write end; nil if stdin is /dev/null
	Stdout, Stderr *os.File // read ends
}

func (s Streams) close() {
	for _, f := range []*os.File{s.Master, s.Stdin, s.Stdout, s.Stderr} {
		if f != nil {
			_ = f.Close() // the broker has its own
		}
	}
}

// Launch starts the container of plan p and returns when its payload runs. The
// payload is the service manager's child from the beginning, not ours: systemd
// waits for the end of its own children only, and gives others no time to stop.
// If Launch fails, nothing is left of the container. The calling goroutine stays
// locked to its thread, whose namespaces may be changed.
func Launch(p plan.Plan, o LaunchOptions) (err error) {
	runtime.LockOSThread()
	manager, err := newNotifier(o.NotifySocket)
	if err != nil {
		return err
	}
	defer manager.close()
	c := &child{tty: p.Annex.Stdio.TTY, opts: o, pidfd: -1, ch: -1}
	defer func() {
		if err != nil {
			o.Failed(err)
		}
		c.close() // a child that has not been released ends at this
		if err != nil {
			c.reap()
		}
	}()
	ns, err := namespacesOf(p, o.PID)
	if err != nil {
		return err
	}
	if err := c.clone(p, ns); err != nil {
		return err
	}
	return c.guide(manager)
}

// child is the second stage as the first one sees it.
type child struct {
	tty     bool
	opts    LaunchOptions
	pid     int
	pidfd   int // -1 before the child is there
	ch      channel
	streams Streams
}

func (c *child) close() {
	c.ch.close()
	c.streams.close()
}

// goneWithin is how long a child may take to end, in milliseconds, once it has
// no parent to talk to.
const goneWithin = 5000

// reap waits for the end of a child that was not released, so that it exits
// with the code that says why, and kills one that does not end.
func (c *child) reap() {
	if c.pidfd < 0 {
		return
	}
	defer closeFd(c.pidfd)
	gone := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
	err := eintr(func() error { _, err := unix.Poll(gone, goneWithin); return err })
	if err != nil || gone[0].Revents == 0 {
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // with it goes its PID namespace
	}
}

// clone starts the second stage in the container's namespaces.
func (c *child) clone(p plan.Plan, ns namespaces) error {
	self, err := protect("/proc/self/exe", minProtectedFd+len(c.opts.Sockets))
	if err != nil {
		return err
	}
	defer closeFd(self)
	parent, far, err := newChannel()
	c.ch = parent
	if err != nil {
		return err
	}
	defer far.close()
	near, streams, err := openStdio(p.Annex.Stdio)
	c.streams = streams
	defer near.close()
	if err != nil {
		return err
	}
	files := []uintptr{near[0].Fd(), near[1].Fd(), near[2].Fd()}
	for _, s := range c.opts.Sockets {
		files = append(files, uintptr(s))
	}
	files = append(files, uintptr(far))
	if sharesMemory(p) {
		shm, err := sharedMemory(ns.ipcOf)
		if err != nil {
			return err
		}
		defer closeFd(shm)
		files = append(files, uintptr(shm))
	}
	if err := ns.enter(); err != nil {
		return err
	}
	argv := []string{"cleat-init", VerbSetup, c.opts.Dir, c.opts.MountPoint, strconv.Itoa(len(c.opts.Sockets))}
	c.pid, err = syscall.ForkExec(procFd(self), argv, &syscall.ProcAttr{
		Env:   append(c.opts.Env, listenEnv(c.opts.SocketNames, len(c.opts.Sockets))...),
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: ns.create | unix.CLONE_PARENT, Setsid: true, PidFD: &c.pidfd},
	})
	if err != nil {
		return fmt.Errorf("clone container: %w", err)
	}
	return nil
}

// guide makes the child the unit's main process while it sets up, and releases
// it when both are done. Systemd has to have looked at a process before that
// can end: of one that is gone it says that it does not exist.
func (c *child) guide(manager *notifier) error {
	if err := manager.send("MAINPID=" + strconv.Itoa(c.pid)); err != nil {
		return err
	}
	looked, err := manager.barrier()
	if err != nil {
		return err
	}
	if !c.tty {
		if err := c.opts.Register(c.pid, c.streams); err != nil {
			return err
		}
	}
	if c.opts.Connect != nil {
		if err := c.opts.Connect(c.pid); err != nil {
			return err
		}
	}
	if err := c.await(msgReady); err != nil {
		return err
	}
	if err := looked(); err != nil {
		return err
	}
	if err := c.opts.Starting(c.pid); err != nil {
		return err
	}
	// A main process that ends before the manager is told that it is ready
	// counts as failed, and a short payload is faster than this process. That
	// the command exists and is executable has been looked at.
	if !c.opts.ReadyLater {
		if err := manager.send("READY=1\nNOTIFYACCESS=none"); err != nil {
			return err
		}
	}
	if err := c.ch.send(msgGo, ""); err != nil {
		return errors.Join(errDied, err)
	}
	if err := c.await(0); err != nil {
		return err
	}
	return c.opts.Started()
}

// await takes the child's messages until one of the given kind comes.
func (c *child) await(kind byte) error {
	for {
		m, err := c.ch.recv()
		if err != nil {
			return err
		}
		if m.kind == kind {
			return nil
		}
		switch m.kind {
		case 0:
			return errDied
		case msgError:
			return childError(m.text)
		case msgWarning:
			c.opts.Warn(m.text)
		case msgTerminal:
			c.streams = Streams{Master: os.NewFile(uintptr(m.fd), "terminal")}
			if err := c.opts.Register(c.pid, c.streams); err != nil {
				return err
			}
		}
	}
}
