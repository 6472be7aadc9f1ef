package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/sandbox"
)

// What a payload may say to systemd, see sd_notify(3): that it is ready, reloads,
// stops, or is alive, how it is doing in words, and for how long it needs more time.
// Not that another process is the main one (MAINPID=), nor anything that systemd
// keeps for it (FDSTORE=), nor what counts as the reason of its end.

const (
	// noticeBytes is the longest message that is looked at.
	noticeBytes = 4096

	// statusRunes is the longest text of STATUS=.
	statusRunes = 256

	// extendLimit is how long a payload may put off the end of a timeout, all in
	// all, from when it first does.
	extendLimit = 10 * time.Minute

	// noticePause is the time between two messages of a container: systemd reads
	// no more than 50 a second of it. More wait in the container's own socket.
	noticePause = 20 * time.Millisecond
)

// Manager is the service manager, as whose services containers say something. A nil
// Manager hears nothing.
type Manager struct {
	store *fdstore.Store
	fd    int
	addr  unix.SockaddrUnix
}

// Connect returns the manager that listens at path, the value of $NOTIFY_SOCKET.
func Connect(path string) (*Manager, error) {
	store, err := fdstore.Connect(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return &Manager{store, fd, unix.SockaddrUnix{Name: path}}, nil
}

// Ready says that this service is ready.
func (m *Manager) Ready() error { return m.store.Notify("READY=1") }

// keep stores a container's notification socket, forget drops it.
func (m *Manager) keep(id string, fd int) error { return m.store.Keep(id, fd) }

func (m *Manager) forget(id string) {
	if m != nil {
		_ = m.store.Forget(id) // else it stays, which harms nobody, until the service ends
	}
}

// send says something as the payload of a container. One that has ended says nothing.
func (m *Manager) send(p *sandbox.Payload, state string) error {
	if m == nil || p.Ended() {
		return nil
	}
	cred := unix.UnixCredentials(&unix.Ucred{Pid: int32(p.PID())})
	for {
		err := unix.Sendmsg(m.fd, []byte(state), cred, &m.addr, unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ESRCH):
			return nil // it has just ended
		case err != nil:
			return fmt.Errorf("notify systemd: %w", err)
		}
		return nil
	}
}

// noticesOf takes the notification socket of a run and has the manager keep it. It
// returns nil if there is none, or not yet.
func (s *Server) noticesOf(r *run) *os.File {
	id := r.container.ID
	fd, ok := s.stored[id]
	if !ok {
		return nil
	}
	delete(s.stored, id)
	if err := s.cfg.Manager.keep(id, fd); err != nil {
		s.cfg.Warn("keep the notification socket of container %q: %v, ignoring", r.container.Name, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		s.cfg.Warn("use the notification socket of container %q: %v, ignoring", r.container.Name, err)
	}
	return os.NewFile(uintptr(fd), "notify")
}

// passOn passes on what the payload says, until ctx is done.
func (r *run) passOn(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = r.notices.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	rc, err := r.notices.SyscallConn()
	for err == nil {
		var message string
		if message, err = receive(rc.Read, unix.MSG_PEEK); err != nil {
			break
		}
		if state := r.filter.pass(message, time.Now()); state != "" {
			if err := r.manager.send(r.payload, state); err != nil {
				r.warn("container %q: %v, ignoring", r.container.Name, err)
			}
		}
		// Only now, so that whoever kills this server at any point, nothing is lost.
		if _, err = receive(rc.Read, 0); err != nil {
			break
		}
		sleep(ctx, noticePause)
	}
	if ctx.Err() == nil {
		r.warn("read what container %q says: %v, ignoring", r.container.Name, err)
	}
}

// receive reads the next message, without what is attached to it: the kernel closes
// descriptors that nobody takes. One that is too long is empty.
func receive(wait func(func(fd uintptr) bool) error, flags int) (string, error) {
	var buf [noticeBytes + 1]byte
	var n int
	var err error
	waitErr := wait(func(fd uintptr) bool {
		n, _, _, _, err = unix.Recvmsg(int(fd), buf[:], nil, flags|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err := errors.Join(waitErr, err); err != nil {
		return "", err
	}
	if n > noticeBytes {
		return "", nil
	}
	return string(buf[:n]), nil
}

// noticeFilter is what a payload has said so far, as far as that matters.
type noticeFilter struct {
	extendUntil time.Time // zero until it first asks for more time
}

// pass returns what of a message may be passed on, "" for nothing.
func (f *noticeFilter) pass(message string, now time.Time) string {
	var out []string
	for line := range strings.SplitSeq(message, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch {
		case line == "READY=1", line == "RELOADING=1", line == "STOPPING=1", line == "WATCHDOG=1":
			out = append(out, line)
		case name == "STATUS":
			out = append(out, "STATUS="+plainText(value))
		case name == "EXTEND_TIMEOUT_USEC":
			if usec := f.extend(value, now); usec != "" {
				out = append(out, name+"="+usec)
			}
		}
	}
	return strings.Join(out, "\n")
}

// extend returns how many microseconds more a payload gets that asks for value.
func (f *noticeFilter) extend(value string, now time.Time) string {
	usec, err := strconv.ParseUint(value, 10, 63)
	if err != nil || usec == 0 {
		return ""
	}
	if f.extendUntil.IsZero() {
		f.extendUntil = now.Add(extendLimit)
	}
	left := f.extendUntil.Sub(now)
	if left <= 0 {
		return ""
	}
	return strconv.FormatUint(min(usec, uint64(left/time.Microsecond)), 10)
}

// plainText makes a text fit for a terminal.
func plainText(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > statusRunes {
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
