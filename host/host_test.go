package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/host"
	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/spec"
)

func TestHostRunsUnitsAndStops(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	st := startHost(t, host.Options{Root: root})

	if started, err := host.EnsureRunning(t.Context(), host.Options{Root: root}); started || err != nil {
		t.Errorf("EnsureRunning of a running host = %v, %v; want false, nil", started, err)
	}
	if got := shell(t, root, "systemctl is-active basic.target cleat-stdiod.socket cleat-netd.socket cleat.socket systemd-journald.service"); got != "active\nactive\nactive\nactive\nactive" {
		t.Errorf("units are %q", got)
	}
	if got := shell(t, root, "systemctl list-units --failed --plain --no-legend"); got != "" {
		t.Errorf("failed units: %s", got)
	}
	if got := shell(t, root, "cat /proc/1/comm; cat /proc/1/cgroup | tail -n 1"); got != "systemd\n0::/init.scope" {
		t.Errorf("PID 1 is %q", got)
	}
	if got := shell(t, root, "systemd-run --quiet --wait sh -c 'exit 7'; echo $?"); got != "7" {
		t.Errorf("systemd-run exits with %s, want 7", got)
	}
	stop(t, root, true)
	if _, err := os.Stat(st.Cgroup); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroup %s is left: %v", st.Cgroup, err)
	}
	stop(t, root, false)
}

func stop(t *testing.T, root string, want bool) {
	t.Helper()
	if ran, err := host.Stop(t.Context(), root, host.StopOptions{}); ran != want || err != nil {
		t.Errorf("Stop = %v, %v; want %v, nil", ran, err, want)
	}
	if st, err := host.State(root); st.Running || err != nil {
		t.Errorf("State after Stop = %+v, %v", st, err)
	}
}

func TestMachineIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	for _, network := range []string{"shared", "private"} {
		cmd := program(t, "leaks", newRoot(t), network)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s network: %v\n%s", network, err, out)
		}
	}
}

func TestHostsSideBySide(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	shared, private := newRoot(t), newRoot(t)
	startHost(t, host.Options{Root: shared})
	startHost(t, host.Options{Root: private, PrivateNetwork: true})
	for _, root := range []string{shared, private} {
		shell(t, root, "systemd-run --quiet --unit=same-name sleep 1000")
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := shell(t, shared, "readlink /proc/self/ns/net"); got != ours {
		t.Errorf("network namespace with a shared network is %s, ours is %s", got, ours)
	}
	if got := shell(t, private, "readlink /proc/self/ns/net"); got == ours {
		t.Errorf("network namespace with a private network is ours, %s", got)
	}
	if got := shell(t, private, "ls /sys/class/net; cat /sys/class/net/lo/flags"); got != "lo\n0x9" {
		t.Errorf("private network has %q, want lo alone, up (IFF_UP|IFF_LOOPBACK)", got)
	}
	stop(t, shared, true)
	if got := shell(t, private, "systemctl is-active same-name"); got != "active" {
		t.Errorf("unit of the other host is %q after one host was stopped", got)
	}
}

func TestManyCommandsStartOneHost(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	const commands = 20
	outs := make([]string, commands)
	var wg sync.WaitGroup
	for i := range commands {
		cmd := program(t, "ensure", root)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("command %d: %v", i, err)
			}
			outs[i] = string(out)
		})
	}
	wg.Wait()
	if n := strings.Count(strings.Join(outs, ""), "true"); n != 1 {
		t.Errorf("%d commands started the host, want 1: %q", n, outs)
	}
}

func TestCrashedHostIsNoticed(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	st := startHost(t, host.Options{Root: root})
	pidfd, err := unix.PidfdOpen(st.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, -1); err != nil {
		t.Fatal(err)
	}
	if st, err := host.State(root); st.Running || err != nil {
		t.Errorf("State of a crashed host = %+v, %v", st, err)
	}
	if started, err := host.EnsureRunning(t.Context(), host.Options{Root: root}); !started || err != nil {
		t.Errorf("EnsureRunning after a crash = %v, %v; want true, nil", started, err)
	}
}

func TestEnterKeepsTheCommandAsItIs(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	dir := filepath.Join(t.TempDir(), "with blank")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := w.WriteString("inherited"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	cmd := program(t, "show-self", root, "a b", "", "-x")
	cmd.Dir, cmd.Stdin, cmd.ExtraFiles = dir, strings.NewReader("typed"), []*os.File{r}
	cmd.Env = append(cmd.Env, "CANARY=yellow", "PWD="+dir)
	out, err := cmd.CombinedOutput()
	want := `args ["a b" "" "-x"] dir ` + dir + ` env yellow stdin "typed" fd3 "inherited"` + "\n"
	if string(out) != want {
		t.Errorf("inside:\n got %s\nwant %s", out, want)
	}
	if cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("exit status %d, %v; want 42", cmd.ProcessState.ExitCode(), err)
	}
}

func TestEnterKeepsAWorkingDirectoryBelowRun(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	dir := fmt.Sprintf("/run/cleat-host-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("relative"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "shell", root, "cat", "file")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); string(out) != "relative" || err != nil {
		t.Errorf("cat file = %q, %v", out, err)
	}
}

func TestSignalReachesTheCommandInside(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := program(t, "shell", root, "sh", "-c", "echo up; exec sleep 1000")
			out := begin(t, cmd)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(out); err != nil {
				t.Errorf("after the signal: %q, %v", rest, err)
			}
			_ = cmd.Wait() // its exit status is what counts
			if got := cmd.ProcessState.ExitCode(); got != 128+int(sig) {
				t.Errorf("exit status %d, want %d", got, 128+int(sig))
			}
		})
	}
}

// begin starts a command and waits for its line "up". What it returns ends when
// nobody inside writes there any more.
func begin(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	up := make([]byte, 3)
	if _, err := io.ReadFull(r, up); err != nil || string(up) != "up\n" {
		t.Fatalf("command says %q, %v", up, err)
	}
	return r
}

func TestKilledCommandLeavesNothingInside(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	cmd := program(t, "enter", root, "sh", "-c", "echo up; exec sleep 1000")
	out := begin(t, cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil {
		t.Errorf("after the kill: %q, %v", rest, err)
	}
	// The machine's init is now the one to reap, which may take it seconds; an
	// orderly shutdown would wait for that.
	if ran, err := host.Stop(t.Context(), root, host.StopOptions{Grace: -1}); !ran || err != nil {
		t.Errorf("Stop = %v, %v; want true, nil", ran, err)
	}
}

func TestStopEndsCommandsInside(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	cmd := program(t, "shell", root, "sh", "-c", "echo up; exec sleep 1000")
	out := begin(t, cmd)
	stop(t, root, true)
	if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil {
		t.Errorf("after the stop: %q, %v", rest, err)
	}
	_ = cmd.Wait() // its exit status is what counts
	if got := cmd.ProcessState.ExitCode(); got < 128 {
		t.Errorf("exit status %d, want that of a signal", got)
	}
}

func TestStopGivesServicesTheirTime(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	said := filepath.Join(t.TempDir(), "said")
	shell(t, root, `systemd-run --quiet --service-type=notify --property=NotifyAccess=all `+
		`sh -c 'trap "echo bye >`+said+`; exit" TERM; systemd-notify --ready; while :; do sleep 0.1; done'`)
	stop(t, root, true)
	if text, err := os.ReadFile(said); string(text) != "bye\n" {
		t.Errorf("the service said %q, %v", text, err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	startHost(t, host.Options{Root: root})
	shell(t, root, `systemd-run --quiet --property=TimeoutStopSec=infinity --property=KillSignal=SIGCONT sleep 1000`)
	if ran, err := host.Stop(t.Context(), root, host.StopOptions{Grace: 100 * time.Millisecond}); !ran || err != nil {
		t.Errorf("Stop = %v, %v; want true, nil", ran, err)
	}
	startHost(t, host.Options{Root: root}) // nothing of it is in the way
}

func TestBootUnitsOutliveTheHost(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	st := startHost(t, host.Options{Root: root})
	unit := "[Service]\nExecStart=sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
	if err := os.WriteFile(filepath.Join(st.UnitDir, "cleat-boot.service"), []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	shell(t, root, "systemctl --quiet enable cleat-boot.service")
	if _, err := os.Lstat("/etc/systemd/system/multi-user.target.wants/cleat-boot.service"); err == nil {
		t.Error("enable wrote to the machine's /etc")
	}
	stop(t, root, true)
	startHost(t, host.Options{Root: root})
	// A start waits for the one that is under way.
	if got := shell(t, root, "systemctl start cleat-boot && systemctl is-enabled cleat-boot && systemctl is-active cleat-boot"); got != "enabled\nactive" {
		t.Errorf("boot unit is %q after a restart of the host", got)
	}
}

func TestSlowBootUnitKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	st := startHost(t, host.Options{Root: root})
	unit := "[Service]\nType=oneshot\nExecStart=sleep 1000\nTimeoutStartSec=infinity\n[Install]\nWantedBy=multi-user.target\n"
	if err := os.WriteFile(filepath.Join(st.UnitDir, "cleat-slow.service"), []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	shell(t, root, "systemctl --quiet enable cleat-slow.service")
	stop(t, root, true)
	startHost(t, host.Options{Root: root})
	if got := shell(t, root, "systemctl is-active cleat-slow || true"); got != "activating" {
		t.Errorf("slow unit is %q, want activating", got)
	}
}

func TestJournalIsTheHostsOwn(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	root := newRoot(t)
	st := startHost(t, host.Options{Root: root})
	shell(t, root, "systemd-run --quiet --wait --unit=talker echo a line of its own")
	if got := shell(t, root, "journalctl --sync; journalctl --unit=talker --output=cat --grep='of its own'"); got != "a line of its own" {
		t.Errorf("journal inside has %q", got)
	}
	stop(t, root, true)
	cmd := exec.CommandContext(t.Context(), "journalctl", "--directory="+st.Journal, "--unit=talker", "--output=cat", "--grep=of its own")
	if out, err := cmd.CombinedOutput(); string(out) != "a line of its own\n" {
		t.Errorf("journal after the stop has %q, %v", out, err)
	}
	if code, err := host.Logs(t.Context(), root, "--unit=talker", "--lines=0", "--quiet"); code != 0 || err != nil {
		t.Errorf("Logs = %d, %v", code, err)
	}
}

func TestMachineWithoutIdentity(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	for _, role := range []string{"bare-etc", "empty-id"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			cmd := program(t, role, root)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			lines := strings.Fields(string(out))
			own, err := os.ReadFile(filepath.Join(root, "host", "extra", "machine-id"))
			if err != nil {
				t.Fatal(err)
			}
			want := []string{strings.TrimSpace(string(own)), "active", "1"}
			if strings.Join(lines, " ") != strings.Join(want, " ") || len(lines[0]) != 32 {
				t.Errorf("inside: %q, want %q", lines, want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   func(ctx context.Context) error
		want error
	}{
		"no root": {
			func(ctx context.Context) error { return host.Start(ctx, host.Options{}) }, spec.ErrInvalid,
		},
		"a root below /run, which the host does not see": {
			func(ctx context.Context) error { return host.Start(ctx, host.Options{Root: "/run/cleat-nowhere"}) }, spec.ErrInvalid,
		},
		"entering a host that does not run": {
			func(ctx context.Context) error {
				_, err := host.Enter(ctx, host.Options{Root: "/nowhere/cleat"})
				return err
			}, spec.ErrUnavail,
		},
		"a shell that does not exist": {
			func(ctx context.Context) error {
				_, err := host.Shell(ctx, host.Options{Root: "/nowhere/cleat"}, []string{"/nowhere/sh"})
				return err
			}, os.ErrNotExist,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() != 0 && strings.HasPrefix(name, "a root") {
				t.Skip("needs root")
			}
			if err := tt.do(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want one of %v", err, tt.want)
			}
		})
	}
}
