package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

// sigPoweroff is SIGRTMIN+4, which makes systemd start poweroff.target, see
// systemd(1). It is a C library's SIGRTMIN, two above the kernel's.
const sigPoweroff = unix.Signal(34 + 4)

// DefaultGrace is how long Stop waits for the services of a host.
const DefaultGrace = time.Minute

// StopOptions says how to stop a host. The zero value gives the services
// DefaultGrace to end.
type StopOptions struct {
	Grace time.Duration // until everything is killed; 0 means DefaultGrace, negative kills at once
}

// Status is the state of a host.
type Status struct {
	Running        bool
	Root           string
	PID            int       // of its PID 1, as the machine sees it
	Started        time.Time // when it was up
	Cgroup         string    // absolute path of its cgroup on the machine
	PrivateNetwork bool
	UnitDir        string // where its boot units lie
	Journal        string // where its journal lies
}

// State returns the state of the host with this root. One that was never
// started is not running; that is no error.
func State(root string) (Status, error) {
	d, err := findDirs(root)
	if err != nil {
		return Status{}, err
	}
	st := Status{Root: d.root, UnitDir: d.units, Journal: d.journal}
	r, ok := d.running()
	if !ok {
		return st, nil
	}
	st.Running, st.PID, st.Started, st.Cgroup, st.PrivateNetwork = true, r.PID, r.Started, r.Cgroup, r.PrivateNetwork
	return st, nil
}

// Stop ends the host and everything in it: services get their stop signal and
// their time, what is left then is killed. It reports whether the host ran, and
// also clears away what a host that died has left.
func Stop(ctx context.Context, root string, opt StopOptions) (ran bool, err error) {
	d, err := findDirs(root)
	if err != nil {
		return false, err
	}
	if !fsx.Exists(filepath.Dir(d.lock)) {
		return false, nil // never started
	}
	lock, err := fsx.Acquire(ctx, d.lock)
	if err != nil {
		return false, fmt.Errorf("stop the embedded host: %w", err)
	}
	defer lock.Release()
	r, ran := d.running()
	if ran {
		err = d.shutdown(ctx, r, opt)
	} else {
		r, _ = d.load() // whatever a crash has left of it
	}
	if err := errors.Join(err, d.clear(ctx, r)); err != nil {
		return ran, fmt.Errorf("stop the embedded host: %w", err)
	}
	return ran, nil
}

// shutdown asks systemd to end and waits for that; if it takes too long, the
// caller kills.
func (d dirs) shutdown(ctx context.Context, r record, opt StopOptions) error {
	if opt.Grace < 0 {
		return nil
	}
	if opt.Grace == 0 {
		opt.Grace = DefaultGrace
	}
	fd, err := r.open()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// From here on no command enters any more; those that come wait for the
	// lock and start a new host.
	if err := d.forget(); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, sigPoweroff, nil, 0); err != nil {
		return fmt.Errorf("signal PID 1: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, opt.Grace)
	defer cancel()
	err = pollFD(wait, fd, unix.POLLIN)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// clear removes every trace of a host but its files on disk, killing what still
// runs. It works on a context of its own time, as half cleared is worse than late.
func (d dirs) clear(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := d.forget(); err != nil {
		return err
	}
	base, err := cgroupMount()
	if err != nil {
		return err
	}
	dir := filepath.Join(base, d.cgroupName())
	if err := killCgroup(ctx, dir); err != nil {
		return err
	}
	if err := removeCgroup(dir); err != nil {
		return err
	}
	undelegate(base, r.Delegated)
	return nil
}
