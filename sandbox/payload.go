package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Payload is the main process of a container, whatever becomes of its number.
type Payload struct {
	pid    int
	cgroup int // directory
	f      *os.File
	rc     syscall.RawConn
}

// OpenPayload opens process pid, which has to be of the given service unit. One
// that is not, or that has ended, is spec.ErrConflict. The caller closes it.
func OpenPayload(pid int, unit string) (*Payload, error) {
	pidfd, cgroup, err := ExecRequest{PID: pid, Unit: unit}.openContainer()
	if err != nil {
		return nil, err
	}
	if err = unix.SetNonblock(pidfd, true); err != nil { // so that the runtime can wait for it
		closeFd(pidfd)
		closeFd(cgroup)
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p := &Payload{pid: pid, cgroup: cgroup, f: os.NewFile(uintptr(pidfd), "pidfd")}
	if p.rc, err = p.f.SyscallConn(); err != nil {
		p.Close()
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	return p, nil
}

// PID returns the number of the process.
func (p *Payload) PID() int { return p.pid }

// Wait waits for the end of the process, or until ctx is done. It takes no thread.
func (p *Payload) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := p.rc.Read(hasEnded)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	return nil
}

// Ended reports whether the process has ended.
func (p *Payload) Ended() bool {
	var ended bool
	err := p.rc.Control(func(fd uintptr) { ended = hasEnded(fd) })
	return err != nil || ended
}

func hasEnded(pidfd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// Ending reports whether the process has ended or is about to: it has no memory any
// more. Whatever is in its PID namespace is killed before it counts as ended.
func (p *Payload) Ending() bool {
	if p.Ended() {
		return true
	}
	_, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/exe")
	return errors.Is(err, fs.ErrNotExist)
}

// Frozen reports whether the container is frozen, as by "pause".
func (p *Payload) Frozen() bool {
	fd, err := unix.Openat(p.cgroup, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // it has gone
	}
	defer closeFd(fd)
	var events [256]byte
	n, err := unix.Read(fd, events[:])
	return err == nil && strings.Contains(string(events[:n]), "frozen 1")
}

// Kill ends the process, and with it whatever is in its PID namespace.
func (p *Payload) Kill() error {
	var err error
	ctlErr := p.rc.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err = errors.Join(ctlErr, err); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// Close releases what is held of the process, which goes on.
func (p *Payload) Close() {
	_ = p.f.Close()
	closeFd(p.cgroup)
}
