package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

const sigKill = int(unix.SIGKILL)

// hasEffect reports whether sig can do anything to the payload pid. The kernel
// drops a signal for PID 1 of a PID namespace that has not set a handler; a
// signal that is blocked may be waited for with sigwait(3) or signalfd(2).
// When in doubt, it can.
func hasEffect(c spec.Container, pid int, sig int) bool {
	if sig == sigKill || sig == int(unix.SIGSTOP) {
		return true
	}
	masks, err := signalMasks(pid)
	if err != nil {
		return true
	}
	bit := uint64(1) << (uint(sig) - 1)
	if masks["SigCgt"]&bit != 0 || masks["SigBlk"]&bit != 0 {
		return true
	}
	if ownPIDNamespace(c) {
		return false
	}
	return masks["SigIgn"]&bit == 0 // the default action ends it
}

func ownPIDNamespace(c spec.Container) bool { return c.PIDMode == "" }

// signalMasks reads the Sig* lines of /proc/<pid>/status, see proc_pid_status(5).
func signalMasks(pid int) (map[string]uint64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	masks := map[string]uint64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if !strings.HasPrefix(name, "Sig") || name == "SigQ" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return nil, err
		}
		masks[name] = mask
	}
	return masks, lines.Err()
}

// process is a process that is watched through a pidfd, see pidfd_open(2).
type process struct{ f *os.File }

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return process{}, fmt.Errorf("watch process %d: %w", pid, err)
	}
	return process{os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (p process) close() { _ = p.f.Close() }

// wait waits until the process has ended, at most for grace, a negative one
// being for ever, and reports whether it has.
func (p process) wait(ctx context.Context, grace time.Duration) (ended bool, err error) {
	if grace >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, grace, errGraceOver)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() { _ = p.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.f.SyscallConn()
	if err != nil {
		return false, err
	}
	err = raw.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		ended = n > 0
		return ended
	})
	switch {
	case ended:
		return true, nil
	case errors.Is(context.Cause(ctx), errGraceOver):
		return false, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	}
	return false, fmt.Errorf("watch process: %w", err)
}

var errGraceOver = errors.New("grace period is over")
