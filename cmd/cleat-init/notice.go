package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/health/enlist"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// notice is the socket at which the payload says how it is doing, see
// sd_notify(3). It is not systemd's: cleat-healthd passes on what is harmless.
type notice struct{ fd int } // -1 for none

// prepareNotice makes the socket of a container that has one.
func prepareNotice(store *state.Store, a plan.Annex) (notice, error) {
	n := notice{-1}
	if a.Notify != spec.NotifyContainer {
		return n, nil
	}
	dir := store.NotifyDir(a.ID)
	if err := remake(dir); err != nil {
		return n, fmt.Errorf("prepare notification socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return n, fmt.Errorf("open notification socket: %w", err)
	}
	n.fd = fd
	if err := bindIn(dir, fd); err != nil {
		n.close()
		return notice{-1}, fmt.Errorf("bind notification socket: %w", err)
	}
	return n, nil
}

// remake makes a directory that is empty, and that whoever gets it mounted may
// look into.
func remake(dir string) error {
	if err := os.RemoveAll(dir); err != nil { // of a run whose end nobody has seen
		return err
	}
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // whatever the umask
}

// bindIn binds a socket in dir for everybody. The way through a descriptor keeps
// the address short enough.
func bindIn(dir string, fd int) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	name := "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + plan.NotifySocket
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(dir, plan.NotifySocket), 0o666)
}

func (n notice) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
	}
}

// env is what the payload has to know; see sd_watchdog_enabled(3).
func (n notice) env() []string {
	if n.fd < 0 {
		return nil
	}
	env := []string{"NOTIFY_SOCKET=" + plan.NotifyTarget + "/" + plan.NotifySocket}
	if usec, ok := os.LookupEnv("WATCHDOG_USEC"); ok {
		env = append(env, "WATCHDOG_USEC="+usec)
	}
	return env
}

// enlist tells cleat-healthd of a run that has begun. Without it the container has
// no checks, which is only said, and nobody would say that it is ready.
func (n notice) enlist(a plan.Annex) error {
	if a.Enlist == "" {
		return nil
	}
	var fds []int
	if n.fd >= 0 {
		fds = append(fds, n.fd)
	}
	err := enlist.Send(a.Enlist, a.ID, fds...)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cleat-healthd cannot be reached: %w", err)
	if a.Notify != spec.NotifyStarted {
		return err
	}
	fmt.Fprintf(os.Stderr, "cleat-init: warning: no health checks: %v\n", err)
	return nil
}
