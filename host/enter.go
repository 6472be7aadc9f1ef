package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// envClient marks a command that Enter runs, for Init. It is taken out of the
// environment there, as it is not meant for the command's own children.
const envClient = "CLEAT_HOST_CLIENT"

// Enter runs this very command again inside the host: same arguments, working
// directory, environment, standard streams and terminal. It returns its exit
// status, 128 and the number for a signal. The host must run: see EnsureRunning.
//
// The caller does nothing more than exit with that status. Enter keeps the
// thread that it ran on inside the host, so it is called from the main goroutine
// and once.
func Enter(ctx context.Context, o Options) (int, error) {
	exe, err := os.Executable()
	if err != nil || strings.HasSuffix(exe, " (deleted)") {
		exe = "/proc/self/exe"
	}
	return enter(ctx, o, exe, os.Args, envClient+"=1")
}

// Shell runs a command inside the host, the user's shell if argv is empty, as
// Enter does.
func Shell(ctx context.Context, o Options, argv []string) (int, error) {
	if len(argv) == 0 {
		argv = []string{shell()}
	}
	exe, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, fmt.Errorf("run %q in the embedded host: %w", argv[0], err)
	}
	return enter(ctx, o, exe, argv)
}

func shell() string {
	if sh := os.Getenv("SHELL"); sh != "" {
		return sh
	}
	return "/bin/sh"
}

// Logs runs journalctl(1) with args on the journal of a host, which needs not
// run, and returns its exit status.
func Logs(ctx context.Context, root string, args ...string) (int, error) {
	d, err := findDirs(root)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "journalctl", append([]string{"--directory=" + d.journal}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the journal of the embedded host: %w", err)
	}
	return 0, nil
}

func enter(ctx context.Context, o Options, exe string, argv []string, env ...string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	d, err := findDirs(o.Root)
	if err != nil {
		return 0, err
	}
	r, ok := d.running()
	if !ok {
		return 0, fmt.Errorf("enter the embedded host of %s: it does not run: %w", d.root, spec.ErrUnavail)
	}
	relay := newRelay() // before there is a child that a signal could miss
	pid, err := spawnInside(r, exe, argv, slices.Concat(os.Environ(), []string{EnvRoot + "=" + d.root}, env), relay)
	if err != nil {
		return 0, fmt.Errorf("enter the embedded host: %w", err)
	}
	return wait(pid)
}

// spawnInside moves this thread into the namespaces of the host and forks there.
// Joining a PID namespace concerns children only, which is why there is one.
func spawnInside(r record, exe string, argv, env []string, relay *relay) (pid int, err error) {
	group, err := unix.Open(filepath.Join(r.Cgroup, clientCgroup), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open cgroup: %w", err)
	}
	defer func() { _ = unix.Close(group) }()
	runtime.LockOSThread() // and never unlock: no other goroutine may run on it
	if err := joinNamespaces(r); err != nil {
		return 0, err
	}
	// The child gets the terminal's signals itself, as it stays in our process
	// group. Its other descriptors are those that our caller left open.
	pid, err = syscall.ForkExec(exe, argv, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: group, PidFD: &relay.pidfd},
	})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", exe, err)
	}
	close(relay.started)
	return pid, nil
}

// joinNamespaces moves the calling thread, keeping its working directory.
func joinNamespaces(r record) error {
	host, err := r.open()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(host) }()
	path, _ := os.Getwd() // "" if it is gone, then only the descriptor is left
	cwd, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the working directory: %w", err)
	}
	defer func() { _ = unix.Close(cwd) }()
	// A mount namespace can be joined only by a thread with a working
	// directory of its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("detach from the other threads: %w", err)
	}
	kinds := unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	if r.PrivateNetwork {
		kinds |= unix.CLONE_NEWNET
	}
	if err := unix.Setns(host, kinds); err != nil {
		return fmt.Errorf("join its namespaces: %w", err)
	}
	return changeDir(path, cwd)
}

// changeDir goes to path if that is still the directory cwd, which it is not
// below /run. Relative names then work all the same, only the path is unknown.
func changeDir(path string, cwd int) error {
	var want, got unix.Stat_t
	if unix.Fstat(cwd, &want) == nil && unix.Stat(path, &got) == nil && want.Dev == got.Dev && want.Ino == got.Ino {
		return unix.Chdir(path)
	}
	if err := unix.Fchdir(cwd); err != nil {
		return fmt.Errorf("keep the working directory: %w", err)
	}
	return nil
}

// relay passes signals on to the child.
type relay struct {
	pidfd   int
	started chan struct{} // closed once pidfd is set
}

// newRelay begins to take the signals that a user or a script may send.
func newRelay() *relay {
	r := &relay{pidfd: -1, started: make(chan struct{})}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	go func() {
		<-r.started
		for s := range signals {
			sig, ok := s.(unix.Signal)
			if ok && !(fromTerminal(sig) && inForeground()) {
				_ = unix.PidfdSendSignal(r.pidfd, sig, nil, 0) // it may have ended
			}
		}
	}()
	return r
}

// fromTerminal reports whether a terminal sends sig to its foreground group.
func fromTerminal(sig unix.Signal) bool {
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGWINCH:
		return true
	}
	return false
}

// inForeground reports whether our process group, and so the child too, gets
// the signals of a terminal's keys. Passing them on would send them twice.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(tty) }()
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// wait waits for the child. If the terminal stops it, it stops and continues
// along with it, as a shell with job control looks at us alone. SIGSTOP is not
// the terminal's: systemd sends it to all processes before it kills them.
func wait(pid int) (int, error) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the command in the embedded host: %w", err)
		case status.Exited():
			return status.ExitStatus(), nil
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		case status.Stopped() && status.StopSignal() != unix.SIGSTOP:
			_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // returns when we are continued
			_ = unix.Kill(pid, unix.SIGCONT)           // not reaped yet, so it is still the child
		}
	}
}

// dieWithParent makes a command that Enter started end when the process that
// waits for it outside is killed. Enter cannot ask for that itself: package
// syscall takes the invisible parent for a dead one.
func dieWithParent() {
	if os.Getenv(envClient) == "" {
		return
	}
	_ = os.Unsetenv(envClient) // fails for invalid names only
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if os.Getppid() != 0 { // a process outside the PID namespace shows as 0
		os.Exit(128 + int(unix.SIGKILL)) // it ended before we could ask
	}
}
