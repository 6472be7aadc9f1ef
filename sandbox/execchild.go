package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// ExecChild makes the process, which Exec has cloned, a further command of the
// container in directory dir. It does not return unless that fails, and then it
// has told Exec why.
func ExecChild(dir string) error {
	runtime.LockOSThread()
	ch := inheritedChannel(childFd)
	err := execChild(ch, dir)
	ch.sendError(err)
	return err
}

func execChild(ch channel, dir string) error {
	if err := harden(); err != nil {
		return err
	}
	w, err := readWire()
	if err != nil {
		return err
	}
	p, err := plan.LoadStart(dir)
	if err != nil {
		return err
	}
	if err := checkPlan(p); err != nil {
		return err
	}
	if err := w.merge(&p); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(w.OOMScoreAdj), 0); err != nil {
		ch.warn("the OOM score cannot be adjusted here")
	}
	if err := enterContainer(); err != nil {
		return err
	}
	root, err := inroot.Open("/")
	if err != nil {
		return err
	}
	if w.TTY {
		if err := execTerminal(ch, root, w); err != nil {
			return err
		}
	}
	return execRun(ch, w, p, root)
}

func readWire() (execWire, error) {
	unix.CloseOnExec(execPidFd)
	f := os.NewFile(execWireFd, "request")
	defer func() { _ = f.Close() }() // only read
	var w execWire
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return w, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return w, fmt.Errorf("decode request: %w", err)
	}
	return w, nil
}

// merge changes the plan of the container into that of the command.
func (w execWire) merge(p *plan.Plan) error {
	process := p.Config.Process
	process.Args = w.Argv
	process.Env = mergeEnv(process.Env, w.Env)
	if w.TTY && getenv(process.Env, "TERM") == "" {
		process.Env = append(process.Env, "TERM=xterm")
	}
	if w.WorkDir != "" {
		process.Cwd = w.WorkDir
	}
	if w.User != "" {
		p.Annex.User = w.User
	}
	if w.Privileged {
		process.Capabilities = &specs.LinuxCapabilities{Bounding: capNames[:], Permitted: capNames[:]}
		if process.ApparmorProfile != "" {
			process.ApparmorProfile = "unconfined"
		}
	}
	return nil
}

// mergeEnv returns base with the variables of over added or replaced.
func mergeEnv(base, over []string) []string {
	names := make(map[string]bool, len(over))
	for _, e := range over {
		name, _, _ := strings.Cut(e, "=")
		names[name] = true
	}
	var out []string
	for _, e := range base {
		if name, _, _ := strings.Cut(e, "="); !names[name] {
			out = append(out, e)
		}
	}
	return append(out, over...)
}

// enterContainer makes the calling thread a member of the main process's
// namespaces; into that of PIDs it has been cloned. The mount namespace comes
// with its root and working directory, which no other thread may share.
func enterContainer() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	const all = unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS
	if err := unix.Setns(execPidFd, all); err != nil {
		return fmt.Errorf("enter container: %w", err)
	}
	closeFd(execPidFd)
	return nil
}

// execTerminal gives the process a terminal of the container.
func execTerminal(ch channel, root inroot.Root, w execWire) error {
	t, err := openTerminal(root.Fd(), "dev/pts/ptmx", w.Height, w.Width)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.become(); err != nil {
		return err
	}
	return ch.send(msgTerminal, "", t.master)
}

// execRun makes the process, which is in the container, the command.
func execRun(ch channel, w execWire, p plan.Plan, root inroot.Root) error {
	process := p.Config.Process
	id, err := identify(p, root)
	if err != nil {
		return err
	}
	proc := procfs(-1)
	if id.priv.appArmor != "" || id.priv.seLinux != "" {
		if proc, err = newProcfs(); err != nil {
			return err
		}
	}
	if err := giveStdio(id.user.UID, w.TTY); err != nil {
		return err
	}
	setUmask(process.User)
	if err := unignoreSignals(); err != nil {
		return err
	}
	if err := w.setRlimits(process.Rlimits, ch.warn); err != nil {
		return err
	}
	c := &command{argv: process.Args, env: environment(process.Env, id.user.Home)}
	err = become(id.user, id.priv, proc, func() error {
		if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
			return fmt.Errorf("close descriptors: %w", err)
		}
		return c.find()
	})
	if err != nil {
		return err
	}
	return c.exec()
}

// setRlimits sets the limits of the main process, or those of the plan where
// they are not known.
func (w execWire) setRlimits(planned []specs.POSIXRlimit, warn func(string)) error {
	if w.Rlimits == nil {
		return setRlimits(planned, warn)
	}
	for n, l := range w.Rlimits {
		if err := unix.Setrlimit(n, &l); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set resource limit %d: %w", n, err)
		}
	}
	return nil
}
