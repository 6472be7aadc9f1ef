package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
)

// sleeper returns a container that runs.
func sleeper(t testing.TB, change func(*rig)) (*rig, started) {
	t.Helper()
	r := newRig(t, "probe", "sleep")
	if change != nil {
		change(r)
	}
	s := r.create().start()
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	return r, s
}

// A further command has the cgroup, namespaces, capabilities, filter and
// privileges of the main process; so once did not those of rkt enter.
func TestExecEqualsMain(t *testing.T) { // CVE-2019-10144, CVE-2019-10145, CVE-2019-10147, CVE-2022-29162
	for _, user := range []string{"", "web"} {
		r, s := sleeper(t, func(r *rig) {
			r.plan.Annex.User = user
			r.plan.Config.Process.NoNewPrivileges = user != ""
		})
		status, err := os.ReadFile("/proc/" + itoa(s.pid) + "/status")
		if err != nil {
			t.Fatal(err)
		}
		main := probed{Status: string(status)}
		host := hostState(t)
		stdout, stderr, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"probe", "dump"}, Env: []string{"MORE=1", "GREETING=bye"}})
		if err != nil || code != 0 {
			t.Fatalf("exec: %v, exit code %d, %s", err, code, stderr)
		}
		p := parseProbe(t, stdout)
		for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Groups", "Uid", "Gid"} {
			if got, want := p.field(name), main.field(name); got != want {
				t.Errorf("%s is %s, that of the main process %s", name, got, want)
			}
		}
		if p.field("CapInh") != "0000000000000000" {
			t.Errorf("CapInh %s", p.field("CapInh"))
		}
		for name, ns := range p.NS {
			want, err := os.Readlink("/proc/" + itoa(s.pid) + "/ns/" + name)
			if err != nil || ns != want {
				t.Errorf("namespace %s is %s, that of the main process %s", name, ns, want)
			}
		}
		if !strings.Contains(p.Cgroup, "0::/"+r.cgroup(s.pid)+"\n") {
			t.Errorf("cgroup %q", p.Cgroup)
		}
		home := "HOME=/root"
		if user != "" {
			home = "HOME=/home/web"
		}
		if diff := cmp.Diff([]string{"PATH=/usr/local/bin:/bin", "MORE=1", "GREETING=bye", home}, p.Env); diff != "" {
			t.Errorf("environment (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"0", "1", "2"}, probeFDs(p)); diff != "" {
			t.Errorf("descriptors (-want +got):\n%s\n%v", diff, p.FDs)
		}
		host.check(t)
	}
}

func TestExecRequest(t *testing.T) {
	r, s := sleeper(t, nil)
	stdout, _, _, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"/bin/probe"}, User: "web:video", WorkDir: "/tmp"})
	if err != nil {
		t.Fatal(err)
	}
	p := parseProbe(t, stdout)
	if p.UID != 1000 || p.GID != 44 || p.Cwd != "/tmp" || p.field("CapEff") != "0000000000000000" || p.field("CapBnd") != "00000000a80425fb" {
		t.Errorf("%d:%d in %s, %s", p.UID, p.GID, p.Cwd, p.Status)
	}
	stdout, _, _, err = r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"/bin/probe"}, Privileged: true})
	if err != nil {
		t.Fatal(err)
	}
	p = parseProbe(t, stdout)
	if all := hostBounding(t); p.field("CapEff") != all || p.field("CapInh") != "0000000000000000" || p.field("Seccomp") != "2" {
		t.Errorf("privileged: CapEff %s, want %s", p.field("CapEff"), all)
	}
}

// A command that is not root can open its own /dev/stdout.
func TestExecReopenStdout(t *testing.T) {
	r, s := sleeper(t, nil)
	stdout, stderr, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"probe", "reopen"}, User: "web"})
	if err != nil || code != 0 || stdout != "reopened\n" || stderr != "reopened stderr\n" {
		t.Errorf("printed %q and %q, exit code %d, %v", stdout, stderr, code, err)
	}
}

func hostBounding(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return probed{Status: string(status)}.field("CapBnd")
}

func TestExecExitCodes(t *testing.T) {
	r, s := sleeper(t, nil)
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"probe", "exit", "0"}, 0}, {[]string{"probe", "exit", "42"}, 42}, {[]string{"sh", "-c", "kill -TERM $$"}, 143}, {[]string{"probe", "kill", "9"}, 137},
	} {
		if _, _, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: tt.args}); err != nil || code != tt.want {
			t.Errorf("%q: exit code %d, want %d, %v", tt.args, code, tt.want, err)
		}
	}
	for _, tt := range []struct {
		req  sandbox.ExecRequest
		exit int
		want string
	}{
		{sandbox.ExecRequest{Argv: []string{"nosuch"}}, sandbox.ExitNotFound, `exec: "nosuch": executable file not found in $PATH`},
		{sandbox.ExecRequest{Argv: []string{"/etc"}}, sandbox.ExitNotExecutable, `exec: "/etc": is a directory`},
		{sandbox.ExecRequest{Argv: []string{"/etc/passwd"}, User: "4242"}, 0, ""},
		{sandbox.ExecRequest{Argv: []string{"probe"}, User: "ghost"}, sandbox.ExitFailed, "unable to find user ghost"},
		{sandbox.ExecRequest{Argv: []string{"probe"}, User: "2147483648"}, sandbox.ExitFailed, "range"},
		{sandbox.ExecRequest{Argv: []string{"probe"}, WorkDir: "/nosuch"}, sandbox.ExitFailed, "no such file or directory"},
	} {
		_, _, _, err := r.exec(t.Context(), s, tt.req)
		if tt.exit == 0 { // a text without "#!" is executable, and no program
			tt.exit, tt.want = sandbox.ExitNotExecutable, "exec format error"
		}
		if err == nil || sandbox.ExitOf(err) != tt.exit || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, exit %d, want %d %q", tt.req.Argv, err, sandbox.ExitOf(err), tt.exit, tt.want)
		}
	}
}

func TestExecTerminal(t *testing.T) {
	r, s := sleeper(t, nil)
	if err := linkBusyboxIn(r, s, "tty", "stty"); err != nil {
		t.Fatal(err)
	}
	stdout, _, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{
		Argv: []string{"sh", "-c", "tty; stty size; echo $TERM; echo x > /dev/tty"}, TTY: true, Height: 11, Width: 22, User: "web",
	})
	if err != nil || code != 0 || stdout != "/dev/pts/0\r\n11 22\r\nxterm\r\nx\r\n" {
		t.Errorf("printed %q, exit code %d, %v", stdout, code, err)
	}
}

// linkBusyboxIn gives a container that runs further commands.
func linkBusyboxIn(r *rig, s started, names ...string) error {
	for _, name := range names {
		if err := os.Symlink("sh", "/proc/"+itoa(s.pid)+"/root/bin/"+name); err != nil {
			return err
		}
	}
	return nil
}

// A hostile container does not see the helper, nor write to it, nor get out
// through the working directory of a further command.
func TestExecAttacks(t *testing.T) { // CVE-2019-5736, CVE-2024-21626, CVE-2026-30892
	r, s := sleeper(t, func(r *rig) {
		r.plan.Config.Process.Capabilities = allCaps()
		write(r, "evil", "#!/proc/self/exe\n", 0o755)
	})
	host := hostState(t)
	_, _, _, _ = r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"/evil"}})
	_, _, _, _ = r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"probe", "open-for-writing", "/proc/self/exe"}})
	host.check(t)
	for _, n := range []int{0, 3, 4, 5, 6, 7, 8, 9, 10, 32, 64} {
		_, _, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"probe"}, WorkDir: "/proc/self/fd/" + itoa(n)})
		if err == nil {
			t.Errorf("working directory /proc/self/fd/%d: exit code %d, want a refusal", n, code)
		}
	}
	for _, user := range []string{"0x0", "-1", "4294967296", "1e3", " ", "web:-1"} {
		if _, _, _, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"probe"}, User: user}); err == nil {
			t.Errorf("user %q was accepted", user)
		}
	}
	host.check(t)
}

// A process that is not the container's is not entered.
func TestExecChecksUnit(t *testing.T) {
	r, s := sleeper(t, nil)
	unit := r.cgroup(s.pid)
	for name, req := range map[string]sandbox.ExecRequest{
		"another unit":  {PID: s.pid, Unit: "cleat-other.service"},
		"part of names": {PID: s.pid, Unit: unit[:len(unit)-2]},
		"this process":  {PID: os.Getpid(), Unit: unit},
		"no process":    {PID: 1 << 22, Unit: unit},
	} {
		req.Dir, req.Helper, req.CgroupRoot, req.Argv = r.store.Dir(r.id), built.init, cgroupRoot, []string{"probe"}
		req.Stdio = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
		if _, err := sandbox.Exec(t.Context(), req); !errors.Is(err, spec.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExecSignal(t *testing.T) {
	r, s := sleeper(t, nil)
	out, w := pipe(t)
	defer func() { _ = out.Close() }()
	p, err := sandbox.Exec(t.Context(), sandbox.ExecRequest{
		PID: s.pid, Unit: r.cgroup(s.pid), CgroupRoot: cgroupRoot, Dir: r.store.Dir(r.id), Helper: built.init,
		Argv: []string{"sh", "-c", "trap 'exit 3' TERM; echo; while :; do read x < /dev/zero; done"}, Stdio: [3]*os.File{out, w, w},
	})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was given up on: %v", err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(t.Context()); code != 137 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("signal after the end: %v", err)
	}
	if err := p.Resize(1, 1); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("resize without a terminal: %v", err)
	}
}

// The container's processes do not see more of a further command than of any
// other: it has left the host before it executes.
func TestExecInSharedPIDNamespace(t *testing.T) {
	r, s := sleeper(t, func(r *rig) {
		ns := r.plan.Config.Linux.Namespaces
		r.plan.Config.Linux.Namespaces = append(ns[:3:3], ns[4:]...) // not its own PIDs
	})
	stdout, stderr, code, err := r.exec(t.Context(), s, sandbox.ExecRequest{Argv: []string{"/bin/probe"}})
	if err != nil || code != 0 {
		t.Fatalf("%v, %d, %s", err, code, stderr)
	}
	if p := parseProbe(t, stdout); p.PID == 1 || p.Hostname != "testhost" {
		t.Errorf("pid %d, host name %s", p.PID, p.Hostname)
	}
}

func BenchmarkExec(b *testing.B) {
	r, s := sleeper(b, nil)
	unit := r.cgroup(s.pid)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for b.Loop() {
		p, err := sandbox.Exec(b.Context(), sandbox.ExecRequest{
			PID: s.pid, Unit: unit, CgroupRoot: cgroupRoot, Dir: r.store.Dir(r.id), Helper: built.init,
			Argv: []string{"sh", "-c", ":"}, Stdio: [3]*os.File{null, null, null},
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
