package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/host"
	"github.com/cleat-project/cleat/internal/fsx"
)

// envRole makes the test binary play a program that uses package host; its
// arguments follow on the command line.
const envRole = "CLEAT_HOST_TEST_ROLE"

func TestMain(m *testing.M) {
	host.Init()
	if role := os.Getenv(envRole); role != "" {
		os.Exit(play(context.Background(), role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// play is the main of those programs.
func play(ctx context.Context, role string, args []string) int {
	code, err := roles[role](ctx, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	return code
}

var roles = map[string]func(ctx context.Context, args []string) (int, error){
	"ensure": func(ctx context.Context, args []string) (int, error) { // root
		started, err := host.EnsureRunning(ctx, host.Options{Root: args[0]})
		fmt.Println(started)
		return 0, err
	},
	"shell": func(ctx context.Context, args []string) (int, error) { // root command...
		return host.Shell(ctx, host.Options{Root: args[0]}, args[1:])
	},
	"enter": func(ctx context.Context, args []string) (int, error) { // root command...
		if host.Inside() == "" {
			return host.Enter(ctx, host.Options{Root: args[0]})
		}
		cmd := exec.CommandContext(ctx, args[1], args[2:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), nil
		}
		return 0, err
	},
	"leaks":     leaks,
	"bare-etc":  bareEtc,
	"empty-id":  emptyID,
	"show-self": showSelf,
}

// showSelf prints what must be the same inside as outside.
func showSelf(ctx context.Context, args []string) (int, error) {
	if host.Inside() == "" {
		return host.Enter(ctx, host.Options{Root: args[0]})
	}
	wd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	in := make([]byte, 64)
	n, err := os.Stdin.Read(in)
	if err != nil {
		return 0, err
	}
	extra, err := os.ReadFile("/proc/self/fd/3")
	if err != nil {
		return 0, err
	}
	fmt.Printf("args %q dir %s env %s stdin %q fd3 %q\n", args[1:], wd, os.Getenv("CANARY"), in[:n], extra)
	return 42, nil
}

// program returns the test binary in a role.
func program(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	return cmd
}

// newRoot returns a root whose host is stopped at the end of the test.
func newRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	t.Cleanup(func() {
		if _, err := host.Stop(context.WithoutCancel(t.Context()), root, host.StopOptions{}); err != nil {
			t.Error(err)
		}
	})
	return root
}

func startHost(t testing.TB, o host.Options) host.Status {
	t.Helper()
	if err := host.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	st, err := host.State(o.Root)
	if err != nil {
		t.Fatal(err)
	}
	if !st.Running {
		t.Fatalf("after Start the host does not run: %+v", st)
	}
	return st
}

// shell runs a shell command inside the host and returns what it printed.
func shell(t testing.TB, root, command string) string {
	t.Helper()
	cmd := program(t, "shell", root, "sh", "-c", command)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// members returns the processes of the machine in cgroups with that name.
func members(cgroup string) ([]string, error) {
	var found []string
	procs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, path := range procs {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "/"+cgroup+"/") {
			found = append(found, strings.TrimSpace(path))
		}
	}
	return found, nil
}

// snapshot is what an embedded host must leave as it was.
func snapshot() (string, error) {
	var b bytes.Buffer
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	b.Write(mounts)
	for _, path := range []string{
		"/proc/sys/fs/file-max", "/proc/sys/fs/nr_open", "/proc/sys/net/unix/max_dgram_qlen",
		"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/etc/machine-id",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s: %s\n", path, text)
	}
	for _, dir := range []string{"/dev", "/run", "/run/systemd", "/run/log", "/etc", "/etc/systemd", "/etc/systemd/system", "/var/log/journal"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s/%s %s\n", dir, e.Name(), info.Mode())
		}
	}
	return b.String(), nil
}

// leaks runs in a mount and a network namespace of its own, where nobody else
// changes anything. Its mounts are shared, so that one that escapes from the host
// shows up.
func leaks(ctx context.Context, args []string) (int, error) {
	// First apart from the machine, which may share its mounts, then shared anew.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return 0, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return 0, err
	}
	before, err := snapshot()
	if err != nil {
		return 0, err
	}
	o := host.Options{Root: args[0], PrivateNetwork: args[1] == "private"}
	if err := host.Start(ctx, o); err != nil {
		return 0, err
	}
	st, err := host.State(o.Root)
	if err != nil {
		return 0, err
	}
	during, err := snapshot()
	if err != nil {
		return 0, err
	}
	if _, err := host.Stop(ctx, o.Root, host.StopOptions{}); err != nil {
		return 0, err
	}
	after, err := snapshot()
	if err != nil {
		return 0, err
	}
	if before != during || before != after {
		return 0, fmt.Errorf("the machine changed while the host ran:\n%s\nand after:\n%s", cmp.Diff(before, during), cmp.Diff(before, after))
	}
	if fsx.Exists(st.Cgroup) {
		return 0, fmt.Errorf("cgroup %s is left", st.Cgroup)
	}
	left, err := members(filepath.Base(st.Cgroup))
	if err != nil {
		return 0, err
	}
	if len(left) > 0 {
		return 0, fmt.Errorf("processes are left: %v", left)
	}
	if fsx.Exists("/proc/" + strconv.Itoa(st.PID)) {
		return 0, fmt.Errorf("PID 1 of the host, %d, is left", st.PID)
	}
	return 0, nil
}

// bareEtc starts a host on a machine whose /etc has neither a machine ID nor a
// directory of systemd, and prints what the host has there.
func bareEtc(ctx context.Context, args []string) (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, err
	}
	upper, work := filepath.Join(args[0], "upper"), filepath.Join(args[0], "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return 0, err
	}
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work); err != nil {
		return 0, err
	}
	if err := errors.Join(os.Remove("/etc/machine-id"), os.RemoveAll("/etc/systemd")); err != nil {
		return 0, err
	}
	return showID(ctx, args[0])
}

// emptyID starts a host on a machine whose machine ID is not set yet.
func emptyID(ctx context.Context, args []string) (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, err
	}
	if err := unix.Mount("/dev/null", "/etc/machine-id", "", unix.MS_BIND, ""); err != nil {
		return 0, err
	}
	return showID(ctx, args[0])
}

func showID(ctx context.Context, root string) (code int, err error) {
	o := host.Options{Root: root}
	if err := host.Start(ctx, o); err != nil {
		return 0, err
	}
	defer func() {
		_, stopErr := host.Stop(ctx, root, host.StopOptions{})
		err = errors.Join(err, stopErr)
	}()
	done := make(chan struct{})
	go func() { // its thread stays inside the host, and ends here
		defer close(done)
		code, err = host.Shell(ctx, o, []string{"sh", "-c", "cat /etc/machine-id; systemctl is-active basic.target; journalctl -n1 -o cat | wc -l"})
	}()
	<-done
	return code, err
}
