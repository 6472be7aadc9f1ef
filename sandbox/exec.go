package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// VerbExec is the first argument of the process that becomes a further command
// of a container, see ExecChild. The directory of the container is the second.
const VerbExec = "exec-child"

// ExecRequest asks for a further command in a running container.
type ExecRequest struct {
	PID    int    // of the container's main process
	Unit   string // the container's service unit: PID has to be in its cgroup
	Dir    string // of the container, with the plan
	Helper string // path of cleat-init

	Argv       []string
	Env        []string // NAME=value, on top of the container's own
	WorkDir    string   // "" means the container's
	User       string   // user[:group]; "" means the container's
	Privileged bool     // all capabilities

	// TTY gives the command a terminal of the container, of the given size (0
	// leaves the kernel's); its other end is Process.Master. Otherwise Stdio
	// are its descriptors 0, 1 and 2, which stay the caller's.
	TTY           bool
	Height, Width uint16 // in characters
	Stdio         [3]*os.File

	// CgroupRoot is where cgroup2 is mounted; "" means /sys/fs/cgroup.
	CgroupRoot string

	// Warn is called with a sentence about what cannot be had; nil ignores it.
	Warn func(sentence string)
}

// execWire is what the child gets to know.
type execWire struct {
	Argv, Env     []string
	WorkDir, User string
	Privileged    bool
	TTY           bool
	Height, Width uint16
	Rlimits       []unix.Rlimit // of the main process, by number
	OOMScoreAdj   string
}

// The descriptors of the child beside its stdio and channel.
const (
	execPidFd  = childFd + 1 // pidfd of the main process
	execWireFd = childFd + 2 // execWire as JSON
)

// Process is a command that Exec has started.
type Process struct {
	PID    int      // in the caller's PID namespace
	Master *os.File // of the terminal, nil without one; the caller closes it

	pidfd int
	ended chan exitStatus
}

type exitStatus struct {
	code int
	err  error
}

// Exec starts a command in a container: in its cgroup and namespaces, as the
// user and with the limits, capabilities, seccomp filter and security label of
// its main process. The caller is its parent and has to Wait for it. If the
// command cannot be run the error is a CommandError. A container that does not
// run is spec.ErrConflict.
func Exec(ctx context.Context, r ExecRequest) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		p   *Process
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread changes its namespaces and ends with the goroutine.
		runtime.LockOSThread()
		p, err := r.start()
		done <- result{p, err}
	}()
	res := <-done
	if res.err != nil {
		return nil, res.err
	}
	go res.p.reap()
	return res.p, nil
}

func (r ExecRequest) start() (_ *Process, err error) {
	pidfd, cgroup, err := r.openContainer()
	if err != nil {
		return nil, err
	}
	defer closeFd(pidfd)
	defer closeFd(cgroup)
	wire, err := r.wire()
	if err != nil {
		return nil, err
	}
	defer closeFd(wire)
	self, err := protect(r.Helper, minProtectedFd)
	if err != nil {
		return nil, err
	}
	defer closeFd(self)
	ch, far, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer ch.close()
	p, err := r.fork(self, far, pidfd, wire, cgroup)
	far.close()
	if err != nil {
		return nil, err
	}
	if err := p.await(ch, r.Warn); err != nil {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) // it may have ended
		p.reap()
		p.Close()
		return nil, err
	}
	return p, nil
}

// openContainer opens the main process and the cgroup it is in.
func (r ExecRequest) openContainer() (pidfd, cgroup int, err error) {
	pidfd, err = unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("container process %d: %w: %w", r.PID, spec.ErrConflict, err)
	}
	path, err := unifiedCgroup(r.PID)
	if err == nil {
		// Alive only now: so what was read is about this process, not about
		// another one that has its number.
		err = unix.PidfdSendSignal(pidfd, 0, nil, 0)
	}
	if err == nil && !strings.Contains(path+"/", "/"+r.Unit+"/") {
		err = fmt.Errorf("it is in cgroup %s", path)
	}
	if err != nil {
		closeFd(pidfd)
		return -1, -1, fmt.Errorf("container process %d is not of unit %s: %w: %w", r.PID, r.Unit, spec.ErrConflict, err)
	}
	root := r.CgroupRoot
	if root == "" {
		root = "/sys/fs/cgroup"
	}
	cgroup, err = unix.Open(root+path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		closeFd(pidfd)
		return -1, -1, fmt.Errorf("open cgroup %s: %w", path, err)
	}
	return pidfd, cgroup, nil
}

// unifiedCgroup returns the cgroup of version 2 that process pid is in.
func unifiedCgroup(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("not in a cgroup of version 2")
}

// wire writes what the child needs into a file in memory.
func (r ExecRequest) wire() (int, error) {
	w := execWire{
		Argv: r.Argv, Env: r.Env, WorkDir: r.WorkDir, User: r.User, Privileged: r.Privileged,
		TTY: r.TTY, Height: r.Height, Width: r.Width,
	}
	var err error
	if w.Rlimits, err = rlimitsOf(r.PID); err != nil {
		return -1, err
	}
	adj, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID) + "/oom_score_adj")
	if err != nil {
		return -1, err
	}
	w.OOMScoreAdj = strings.TrimSpace(string(adj))
	data, err := json.Marshal(w)
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("exec", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make request file: %w", err)
	}
	if _, err := fdWriter(fd).Write(data); err != nil {
		closeFd(fd)
		return -1, fmt.Errorf("write request: %w", err)
	}
	return fd, nil
}

// rlimitsOf returns the resource limits of process pid by number. It reads them
// from proc_pid_limits(5), because prlimit(2) needs CAP_SYS_RESOURCE for the
// processes of others, which root does not have everywhere.
func rlimitsOf(pid int) ([]unix.Rlimit, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return nil, fmt.Errorf("read limits of process %d: %w", pid, err)
	}
	limits, err := parseLimits(string(text))
	if err != nil {
		return nil, fmt.Errorf("read limits of process %d: %w", pid, err)
	}
	return limits, nil
}

// parseLimits reads the table of proc_pid_limits(5): a line for each limit in
// the order of their numbers, the soft limit at the 27th character.
func parseLimits(table string) ([]unix.Rlimit, error) {
	const values = 26
	_, lines, _ := strings.Cut(table, "\n")
	limits := make([]unix.Rlimit, 0, len(rlimitNames))
	for line := range strings.Lines(lines) {
		if len(line) < values {
			return nil, fmt.Errorf("line %q is too short", line)
		}
		fields := strings.Fields(line[values:])
		if len(fields) < 2 || len(limits) == len(rlimitNames) {
			return nil, fmt.Errorf("line %q is not of the known form", line)
		}
		soft, softErr := parseLimit(fields[0])
		hard, hardErr := parseLimit(fields[1])
		if err := errors.Join(softErr, hardErr); err != nil {
			return nil, err
		}
		limits = append(limits, unix.Rlimit{Cur: soft, Max: hard})
	}
	return limits, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	return strconv.ParseUint(s, 10, 64)
}

// fork clones the child into the container's PID namespace and cgroup. It
// changes the PID namespace of the thread's children for good.
func (r ExecRequest) fork(self int, far channel, pidfd, wire, cgroup int) (*Process, error) {
	if err := unix.Setns(pidfd, unix.CLONE_NEWPID); err != nil {
		return nil, fmt.Errorf("enter PID namespace: %w", err)
	}
	stdio, err := r.stdio()
	if err != nil {
		return nil, err
	}
	p := &Process{ended: make(chan exitStatus, 1)}
	p.PID, err = syscall.ForkExec(procFd(self), []string{"cleat-init", VerbExec, r.Dir}, &syscall.ProcAttr{
		Env:   []string{},
		Files: []uintptr{stdio[0].Fd(), stdio[1].Fd(), stdio[2].Fd(), uintptr(far), uintptr(pidfd), uintptr(wire)},
		Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup, PidFD: &p.pidfd, Setsid: true},
	})
	if r.TTY {
		_ = stdio[0].Close() // the null device
	}
	if err != nil {
		return nil, fmt.Errorf("clone process: %w", err)
	}
	return p, nil
}

// stdio returns the descriptors of the child. One with a terminal makes it
// itself.
func (r ExecRequest) stdio() ([3]*os.File, error) {
	if !r.TTY {
		return r.Stdio, nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	return [3]*os.File{null, null, null}, err
}

// await waits until the child has executed the command.
func (p *Process) await(ch channel, warn func(string)) error {
	for {
		m, err := ch.recv()
		if err != nil {
			return err
		}
		switch m.kind {
		case 0:
			return nil
		case msgError:
			return childError(m.text)
		case msgWarning:
			if warn != nil {
				warn(m.text)
			}
		case msgTerminal:
			p.Master = os.NewFile(uintptr(m.fd), "terminal")
		}
	}
}

// reap waits for the process to end.
func (p *Process) reap() {
	var ws unix.WaitStatus
	err := eintr(func() error { _, err := unix.Wait4(p.PID, &ws, 0, nil); return err })
	code := ws.ExitStatus()
	if ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	p.ended <- exitStatus{code, err}
}

// Wait returns the exit code of the command, 128+n if signal n ended it. It
// waits until ctx is done, may be called once, and leaves the process alone.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case e := <-p.ended:
		if e.err != nil {
			return 0, fmt.Errorf("wait for process %d: %w", p.PID, e.err)
		}
		return e.code, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Signal sends sig to the command. One that has ended is spec.ErrConflict.
func (p *Process) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d has ended: %w", p.PID, spec.ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// Resize sets the size of the command's terminal, in characters.
func (p *Process) Resize(height, width uint16) error {
	if p.Master == nil {
		return fmt.Errorf("process %d has no terminal: %w", p.PID, spec.ErrConflict)
	}
	rc, err := p.Master.SyscallConn()
	if err != nil {
		return err
	}
	var ioErr error
	err = rc.Control(func(fd uintptr) {
		ioErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return errors.Join(err, ioErr)
}

// Close releases what is kept of the process, which goes on. Master is not
// closed.
func (p *Process) Close() { closeFd(p.pidfd) }
