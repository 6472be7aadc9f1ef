package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/spec"
)

const (
	// bootName is argv[0] of the process that becomes the host's PID 1; its
	// argv[1] is a bootPlan.
	bootName = "cleat-host-boot"

	// bootTimeout ends a boot that has come to nothing.
	bootTimeout = 60 * time.Second
)

// bootPlan is what the first process of a host needs to know.
type bootPlan struct {
	Dirs           planDirs
	Root           string // cleat's
	RunRoot        string
	Libexec        string
	Systemd        string // directory of systemd's programs
	PrivateNetwork bool
}

// planDirs are those of dirs that are mounted inside.
type planDirs struct{ Units, Etc, Journal, Extra, BootLog string }

// boot starts the host; the caller holds the lock.
func (d dirs) boot(ctx context.Context, o Options) error {
	plan, err := d.plan(o)
	if err != nil {
		return err
	}
	return d.bootPlan(ctx, plan)
}

// bootPlan carries out the plan. On failure nothing is left.
func (d dirs) bootPlan(ctx context.Context, plan bootPlan) (err error) {
	old, _ := d.load() // left by a crash, if it can be read
	if err := d.clear(ctx, old); err != nil {
		return err
	}
	cgroup, delegated, err := makeCgroup(d.cgroupName())
	if err != nil {
		return err
	}
	r := record{Cgroup: cgroup, Delegated: delegated, PrivateNetwork: plan.PrivateNetwork}
	var u undo.Stack
	defer u.OnError(ctx, &err)
	u.Push("clear away the embedded host", func(ctx context.Context) error { return d.clear(ctx, r) })

	restore, err := keepSysctl(ctx, plan)
	if err != nil {
		return err
	}
	r.PID, err = d.launch(ctx, plan, cgroup)
	restore()
	if err != nil {
		return d.explain(err)
	}
	if r.StartTicks, err = startTicks(r.PID); err != nil {
		return d.explain(fmt.Errorf("read the start time of PID 1: %w", err))
	}
	if r.BootID, err = bootID(); err != nil {
		return err
	}
	r.Started = time.Now()
	return d.store(r)
}

func (d dirs) plan(o Options) (bootPlan, error) {
	systemd, err := systemdDir()
	if err != nil {
		return bootPlan{}, err
	}
	if o.RunRoot == "" {
		o.RunRoot = "/run/cleat"
	}
	if o.Libexec == "" {
		exe, err := os.Executable()
		if err != nil {
			return bootPlan{}, fmt.Errorf("find the helper binaries: %w", err)
		}
		o.Libexec = filepath.Dir(exe)
	}
	return bootPlan{
		Dirs: planDirs{d.units, d.etc, d.journal, d.extra, d.bootLog},
		Root: d.root, RunRoot: o.RunRoot, Libexec: o.Libexec, Systemd: systemd,
		PrivateNetwork: o.PrivateNetwork,
	}, nil
}

// explain adds the end of what PID 1 said.
func (d dirs) explain(err error) error {
	said, readErr := os.ReadFile(d.bootLog)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if readErr != nil || lines[0] == "" {
		return err
	}
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return fmt.Errorf("%w; %s ends with:\n%s", err, d.bootLog, strings.Join(lines, "\n"))
}

// launch makes the host's first process and waits until the host is up.
func (d dirs) launch(ctx context.Context, plan bootPlan, cgroup string) (pid int, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer func() { _ = ours.Close() }()
	proc, err := d.spawn(plan, cgroup, theirs)
	_ = theirs.Close() // the child has its own copy
	if err != nil {
		return 0, err
	}
	// The goroutine lives as long as the host if the caller does, and then
	// keeps the host's end from leaving a zombie.
	ended := make(chan error, 1)
	go func() {
		st, err := proc.Wait()
		if err == nil {
			err = fmt.Errorf("PID 1 ended during boot: %s", st)
		}
		ended <- err
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("not up after %s: %w", bootTimeout, spec.ErrUnavail))
	defer cancel()
	return proc.Pid, awaitBoot(ctx, ours, ended)
}

// spawn starts this program anew as the first process of new namespaces, in the
// cgroup that becomes the root of its cgroup namespace: hence that one is
// unshared only after the process is in there.
func (d dirs) spawn(plan bootPlan, cgroup string, control *os.File) (*os.Process, error) {
	arg, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encode the boot plan: %w", err)
	}
	log, err := os.OpenFile(d.bootLog, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the boot log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	group, err := os.Open(filepath.Join(cgroup, systemCgroup))
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	defer func() { _ = group.Close() }()
	flags := uintptr(unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	if plan.PrivateNetwork {
		flags |= unix.CLONE_NEWNET
	}
	proc, err := os.StartProcess("/proc/self/exe", []string{bootName, string(arg)}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: []*os.File{null, log, log, control},
		Sys: &syscall.SysProcAttr{
			Cloneflags:   flags,
			Unshareflags: unix.CLONE_NEWCGROUP,
			UseCgroupFD:  true,
			CgroupFD:     int(group.Fd()),
			Setsid:       true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the namespaces: %w", err)
	}
	return proc, nil
}

// socketPair returns two connected sockets: over one the first process of the
// host hands out its notification socket, or says why it cannot go on.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer func() { _ = ours.Close() }() // FileConn has its own copy
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// awaitBoot returns once the host is up, or cannot come up.
func awaitBoot(ctx context.Context, control *net.UnixConn, ended <-chan error) error {
	notify, err := takeOver(ctx, control)
	if err != nil {
		return err
	}
	defer func() { _ = notify.Close() }() // also ends readReady
	ready := make(chan error, 1)
	go func() { ready <- readReady(notify) }()
	select {
	case err := <-ready:
		return err
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeOver receives the notification socket from the first process, and waits
// until that has become systemd.
func takeOver(ctx context.Context, control *net.UnixConn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := control.ReadMsgUnix(buf, oob)
	if err != nil || oobn == 0 {
		return nil, bootFailed(ctx, buf[:max(n, 0)], err)
	}
	notify, err := receivedConn(oob[:oobn])
	if err != nil {
		return nil, err
	}
	// The socket closes when systemd is executed; before that comes only bad news.
	if n, err = control.Read(buf); n > 0 || !errors.Is(err, io.EOF) && err != nil {
		_ = notify.Close()
		return nil, bootFailed(ctx, buf[:max(n, 0)], err)
	}
	return notify, nil
}

// bootFailed makes an error of what the first process said, if anything.
func bootFailed(ctx context.Context, said []byte, err error) error {
	switch {
	case len(said) > 0:
		return errors.New(string(said))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil || errors.Is(err, io.EOF):
		return errors.New("first process ended without a word")
	}
	return fmt.Errorf("hear from the first process: %w", err)
}

func receivedConn(oob []byte) (net.Conn, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive the notification socket: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) == 0 {
			continue
		}
		f := os.NewFile(uintptr(fds[0]), "notify")
		defer func() { _ = f.Close() }() // FileConn has its own copy
		return net.FileConn(f)
	}
	return nil, errors.New("no notification socket received")
}

// readReady returns once cleat-host-ready.service has run. The end of the boot
// itself, which systemd would report, may be far off: a container that starts at
// boot can be slow, and must not keep every other command waiting.
func readReady(notify net.Conn) error {
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			return fmt.Errorf("wait for systemd: %w", err)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}
