package broker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// payload is the process whose credentials the journal entries carry, so that
// journald attributes them to its unit.
type payload struct {
	cred []byte // SCM_CREDENTIALS

	mu    sync.Mutex
	pidfd int // -1 once the process is known to be dead
}

// newPayload watches pid. Start is its start time, which tells it from a later
// process of the same number; 0 means that pid has just been named by its
// parent and is the right one.
func newPayload(pid int, start uint64) (*payload, uint64) {
	p := &payload{pidfd: -1}
	if pid <= 0 {
		return p, 0
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return p, start // dead already
	}
	now, err := startTime(pid)
	if err != nil || start != 0 && start != now {
		_ = unix.Close(fd)
		return p, start
	}
	p.pidfd = fd
	p.cred = unix.UnixCredentials(&unix.Ucred{Pid: int32(pid)})
	return p, now
}

// credentials returns the control message for an entry, or nil if the payload
// is dead: journald would look its number up in vain, or find a stranger.
func (p *payload) credentials() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err == nil && n > 0 {
		p.release()
		return nil
	}
	return p.cred
}

func (p *payload) release() {
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

func (p *payload) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

// startTime returns the 22nd field of /proc/pid/stat: clock ticks after boot.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const index = 22 - 3
	if len(fields) <= index {
		return 0, fmt.Errorf("stat of process %d has %d fields: %w", pid, len(fields), spec.ErrInvalid)
	}
	return strconv.ParseUint(string(fields[index]), 10, 64)
}

// sourceID identifies a pipe, or a terminal by its master, among those that are
// open.
func sourceID(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return st.Ino, nil
	case unix.S_IFCHR:
		// All masters of one devpts share an inode; a container has its own devpts.
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		if err != nil {
			return 0, fmt.Errorf("read number of terminal: %w: %w", err, spec.ErrInvalid)
		}
		return st.Dev<<32 | uint64(uint32(n)), nil
	}
	return 0, fmt.Errorf("file of mode %#o is neither pipe nor terminal: %w", st.Mode, spec.ErrInvalid)
}

// reopenPipe opens the pipe fd for reading and writing.
func reopenPipe(fd int) (int, error) {
	n, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("reopen pipe: %w", err)
	}
	return n, nil
}

// newPipe returns a pipe that is both ends in one descriptor, so that it can be
// stored as one.
func newPipe() (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("make pipe: %w", err)
	}
	fd, err := reopenPipe(p[0])
	return fd, errors.Join(err, unix.Close(p[0]), unix.Close(p[1]))
}
