package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// The helper's binary cannot be written to from inside, neither through the
// process that becomes the payload, nor where the payload is the helper itself.
func TestCVE2019_5736(t *testing.T) {
	tests := map[string]struct {
		args []string
		init bool
	}{
		"entrypoint is /proc/self/exe":  {args: []string{"/evil"}},
		"open /proc/1/exe":              {args: []string{"probe", "open-for-writing", "/proc/1/exe", "/proc/self/exe"}},
		"open /proc/1/exe of our init":  {args: []string{"probe", "open-for-writing", "/proc/1/exe", "/sbin/docker-init"}, init: true},
		"entrypoint is the init's file": {args: []string{"/evil"}, init: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.args...)
			write(r, "evil", "#!/proc/self/exe\n", 0o755)
			if tt.init {
				r.plan.Annex.Init = built.init
			}
			// All capabilities, so that nothing but the mount is in the way.
			r.plan.Config.Process.Capabilities = allCaps()
			host := hostState(t)
			s := r.create().start()
			if s.code == 0 {
				r.wait(s)
				stdout, _ := r.broker.output(t, r.id)
				// The probe's own file, in the container, is only busy.
				if tt.init && strings.Contains(stdout, "exe: ") && strings.Count(stdout, "read-only file system")+strings.Count(stdout, "text file busy") != 2 {
					t.Errorf("opening the init for writing: %s", stdout)
				}
			}
			host.check(t)
		})
	}
}

func allCaps() *specs.LinuxCapabilities {
	names := []string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD", "CAP_CHOWN", "CAP_FOWNER"}
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

// While the second stage has the helper's file open, it is on a read-only mount
// and the process cannot be traced, not even by its future user.
func TestSetupIsProtected(t *testing.T) { // CVE-2016-9962, CVE-2019-5736
	r := newRig(t, "probe", "exit", "0")
	r.plan.Annex.User = "web"
	release := r.notify.holdBarriers(t)
	r.create()
	done := make(chan started, 1)
	go func() { done <- r.start() }()
	for got := ""; got != "BARRIER=1"; got = <-r.notify.seen {
	}
	proc := "/proc/" + itoa(r.notify.mainPID())
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, err := os.ReadFile(proc + "/status")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the second stage does not become the user: %v", err)
		}
		if strings.Contains(string(status), "Uid:\t1000") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	exe, err := unix.Open(proc+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(exe) }()
	var st unix.Stat_t
	if err := unix.Stat(proc+"/environ", &st); err != nil || st.Uid != 0 {
		t.Errorf("the process is dumpable: its files are of user %d, %v", st.Uid, err)
	}
	release()
	if s := <-done; s.code == 0 {
		r.wait(s)
	}
	// Now that nobody executes it any more, the file is not merely busy.
	fd, err := unix.Open("/proc/self/fd/"+itoa(exe), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("open the helper through a descriptor from /proc/<pid>/exe for writing: %v", err)
	}
}

// Nothing hides procfs, so that labels and sysctls go to the kernel.
func TestCVE2019_16884(t *testing.T) {
	for name, dest := range map[string]string{"over /proc": "/proc", "beneath": "/proc/self/attr", "by another name": "/alias", "cleaned": "/x/../proc"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/bin/probe")
			fake := filepath.Join(r.dir, "fake")
			if err := os.MkdirAll(filepath.Join(fake, "self/attr"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/proc", filepath.Join(r.layer(), "alias")); err != nil {
				t.Fatal(err)
			}
			host := hostState(t)
			s := r.bind(fake, dest).create().start()
			if s.code != sandbox.ExitFailed {
				t.Errorf("exit code %d, want a refusal; said %q", s.code, s.stderr)
			}
			host.check(t)
		})
	}
}

// Directories of the image that mounts go to lead out of it: the container gets
// real ones or does not start, and the host is not touched.
func TestCVE2026_41579(t *testing.T) { // also CVE-2026-47766, CVE-2019-19921, CVE-2023-27561
	for _, dir := range []string{"dev", "proc", "sys", "run", "etc", "tmp", "sys/fs", "dev/pts", "dev/shm"} {
		for _, way := range []string{"absolute", "relative"} {
			t.Run(strings.ReplaceAll(dir, "/", "_")+" "+way, func(t *testing.T) {
				r := newRig(t, "/bin/probe")
				host := hostState(t)
				target := host.canary
				if way == "relative" {
					target = strings.Repeat("../", 20) + target[1:]
				}
				link := filepath.Join(r.layer(), dir)
				if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(target, link); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(r.dir, "resolv.conf")
				if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
					t.Fatal(err)
				}
				r.bind(file, "/etc/resolv.conf").bind(file, "/run/x").bind(file, "/tmp/x")
				r.plan.Config.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/extra/zero", Type: "c", Major: 1, Minor: 5}}
				s := r.create().start()
				if s.code == 0 {
					r.wait(s)
					stdout, _ := r.broker.output(t, r.id)
					p := parseProbe(t, stdout)
					for _, point := range []string{"/dev", "/proc", "/sys", "/dev/pts", "/dev/shm"} {
						if p.mount(point) == "" {
							t.Errorf("started without %s", point)
						}
					}
				} else if s.code != sandbox.ExitFailed {
					t.Errorf("exit code %d: %s", s.code, s.stderr)
				}
				host.check(t)
			})
		}
	}
}

// No working directory leads out through a descriptor or a link.
func TestCVE2024_21626(t *testing.T) {
	host := hostState(t)
	for _, n := range []int{0, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 32, 33, 64} {
		r := newRig(t, "/bin/probe")
		r.plan.Config.Process.Cwd = "/proc/self/fd/" + itoa(n)
		s := r.create().start()
		if s.code != sandbox.ExitFailed || !strings.Contains(s.stderr, "working directory") {
			t.Errorf("cwd %s: exit code %d, %s", r.plan.Config.Process.Cwd, s.code, s.stderr)
		}
	}
	host.check(t)
}

// A working directory behind a link of the image is made in the container.
func TestCVE2026_55686(t *testing.T) {
	r := newRig(t, "/bin/probe")
	host := hostState(t)
	if err := os.Symlink(host.canary, filepath.Join(r.layer(), "link")); err != nil {
		t.Fatal(err)
	}
	r.plan.Config.Process.Cwd = "/link/made"
	if p := r.create().probe(); p.Cwd != host.canary+"/made" {
		t.Errorf("cwd %s", p.Cwd)
	}
	host.check(t)
}

// A masked file is covered with the null device, whatever the image has there.
func TestCVE2025_31133(t *testing.T) {
	t.Run("image", func(t *testing.T) {
		r := newRig(t, "probe", "open-for-writing", "/proc/kcore", "/proc/timer_list", "/dev/null")
		host := hostState(t)
		dev := filepath.Join(r.layer(), "dev")
		if err := os.Mkdir(dev, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(dev, "null")); err != nil {
			t.Fatal(err)
		}
		r.create().run()
		host.check(t)
	})
	t.Run("bind of /dev", func(t *testing.T) {
		r := newRig(t, "/bin/probe")
		host := hostState(t)
		dev := filepath.Join(r.dir, "dev")
		if err := os.Mkdir(dev, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(dev, "null")); err != nil {
			t.Fatal(err)
		}
		r.plan.Config.Mounts = []specs.Mount{dockerMounts()[0]}
		r.bind(dev, "/dev")
		r.plan.Annex.Stdio.OpenStdin = true // so that nothing else needs /dev/null
		if s := r.create().start(); s.code != sandbox.ExitFailed {
			t.Errorf("exit code %d, %s", s.code, s.stderr)
		}
		host.check(t)
	})
	t.Run("masks are the null device", func(t *testing.T) {
		r := newRig(t, "sh", "-c", "stat -c '%F %t:%T' /proc/interrupts /proc/timer_list; cat /proc/interrupts")
		if err := linkBusybox(r, "stat", "cat"); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, _ := r.create().run()
		if want := "character special file 1:3\ncharacter special file 1:3\n"; stdout != want {
			t.Errorf("printed %q, %q", stdout, stderr)
		}
	})
}

// The console is the terminal that was opened, compared by device number.
func TestCVE2025_52565(t *testing.T) {
	r := newRig(t, "sh", "-c", "stat -c '%t:%T %i' /dev/console /dev/pts/0; echo through > /dev/console")
	if err := linkBusybox(r, "stat"); err != nil {
		t.Fatal(err)
	}
	// What the image has in the place of the devpts is not used.
	evil := filepath.Join(r.layer(), "dev/pts")
	if err := os.MkdirAll(evil, 0o755); err != nil {
		t.Fatal(err)
	}
	host := hostState(t)
	if err := os.Symlink(host.canary+"/secret", filepath.Join(evil, "0")); err != nil {
		t.Fatal(err)
	}
	r.plan.Annex.Stdio = plan.Stdio{Socket: r.broker.path, TTY: true}
	stdout, _, _ := r.create().run()
	lines := strings.Split(stdout, "\r\n")
	if len(lines) < 3 || lines[0] != lines[1] || !strings.HasPrefix(lines[0], "88:0 ") || lines[2] != "through" {
		t.Errorf("printed %q", stdout)
	}
	host.check(t)
}

// Strings for a user that some runtime took for root, or for another user.
func TestCVE2026_30892(t *testing.T) { // also CVE-2024-40635
	uids := map[string]int{"": 0, "00": 0, "0": 0, "user:": -1, "web:": 1000, ":video": 0, ":44": 0, "007": 7, "1000:0": 1000}
	for user, want := range uids {
		r := newRig(t, "/bin/probe")
		r.plan.Annex.User = user
		s := r.create().start()
		if want < 0 {
			if s.code != sandbox.ExitFailed {
				t.Errorf("user %q: exit code %d", user, s.code)
			}
			continue
		}
		if s.code != 0 {
			t.Errorf("user %q: %s", user, s.stderr)
			continue
		}
		r.wait(s)
		stdout, _ := r.broker.output(t, r.id)
		if p := parseProbe(t, stdout); p.UID != want {
			t.Errorf("user %q runs as %d, want %d", user, p.UID, want)
		}
	}
	for _, user := range []string{"0x0", "-1", "+0", "4294967296", "4294967295", "2147483648", "1e3", " ", " 0", "0 ", "root ", "web:4294967296", "0:-1", "٠", "0\n", "web:nosuch"} {
		r := newRig(t, "/bin/probe")
		r.plan.Annex.User = user
		if s := r.create().start(); s.code != sandbox.ExitFailed {
			t.Errorf("user %q: exit code %d, want a refusal", user, s.code)
		}
	}
}

// Whatever an image has as user database, a start ends soon and reads nothing
// of the host.
func TestCVE2024_9676(t *testing.T) { // also CVE-2024-9341 and their kind
	tests := map[string]struct {
		make func(path, canary string) error
		fail bool
	}{
		"link to the host": {func(p, canary string) error { return os.Symlink(canary+"/passwd", p) }, false},
		"FIFO":             {func(p, _ string) error { return unix.Mkfifo(p, 0o666) }, true},
		"directory":        {func(p, _ string) error { return os.Mkdir(p, 0o755) }, true},
		"device":           {func(p, _ string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }, true},
		"1 GB":             {func(p, _ string) error { return truncated(p, 1<<30) }, true},
		"link to procfs":   {func(p, _ string) error { return os.Symlink("/proc/self/fd/0", p) }, true},
		"broken lines":     {func(p, _ string) error { return os.WriteFile(p, []byte(":::::\nweb:x:abc:0:\nweb\n\x00\n"), 0o644) }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/bin/probe")
			host := hostState(t)
			etc := filepath.Join(r.layer(), "etc")
			if err := os.Mkdir(etc, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := tt.make(filepath.Join(etc, "passwd"), host.canary); err != nil {
				t.Fatal(err)
			}
			r.plan.Annex.User = "web"
			if name == "link to the host" {
				r.plan.Annex.User = "0" // the name is not in the container
			}
			s := r.create().start()
			if failed := s.code == sandbox.ExitFailed; failed != tt.fail {
				t.Errorf("exit code %d, %s", s.code, s.stderr)
			}
			if s.code == 0 {
				r.wait(s)
				stdout, _ := r.broker.output(t, r.id)
				if p := parseProbe(t, stdout); p.Env[len(p.Env)-1] != "HOME=/" {
					t.Errorf("the host's file was read: %q", p.Env)
				}
			}
			host.check(t)
		})
	}
}

func truncated(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// Entries that are not NAME=value do not reach the payload, nor does anything
// of the helper's environment.
func TestCVE2026_57231(t *testing.T) {
	r := newRig(t, "/bin/probe")
	r.plan.Config.Process.Env = []string{"FOO", "=x", "*", "", "PATH=/bin", "HOST_SECRET", "EMPTY="}
	if got := strings.Join(r.create().probe().Env, " "); got != "PATH=/bin EMPTY= HOME=/root" {
		t.Errorf("environment %q", got)
	}
}

// The cgroup tree is of version 2, is the container's own part, and cannot be
// written to.
func TestCVE2023_25809(t *testing.T) { // also CVE-2022-0492
	r := newRig(t, "probe", "open-for-writing", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/../cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent")
	stdout, _, _ := r.create().run()
	for line := range strings.Lines(stdout) {
		if !strings.HasSuffix(line, ": read-only file system\n") && !strings.HasSuffix(line, ": no such file or directory\n") {
			t.Errorf("writable: %s", line)
		}
	}
}

// Long texts pass, and are not cut.
func TestCVE2021_43784(t *testing.T) {
	r := newRig(t, "/bin/probe")
	long := "LONG=" + strings.Repeat("x", 100<<10)
	r.plan.Config.Process.Env = append(r.plan.Config.Process.Env, long)
	r.plan.Config.Annotations = map[string]string{"long": strings.Repeat("y", 200<<10)}
	if p := r.create().probe(); len(p.Env) < 3 || p.Env[2] != long {
		t.Error("a long variable did not arrive")
	}
}

// The kernel's parameters of the host cannot be written to, and those of the
// container's namespaces are.
func TestCVE2025_52881(t *testing.T) {
	r := newRig(t, "sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; probe open-for-writing /proc/sys/kernel/core_pattern /proc/irq/default_smp_affinity /proc/sys/net/ipv4/ip_forward")
	if err := linkBusybox(r, "cat"); err != nil {
		t.Fatal(err)
	}
	host := hostState(t)
	stdout, stderr, _ := r.create().run()
	if !strings.HasPrefix(stdout, "0\n") || strings.Count(stdout, "read-only file system") != 3 {
		t.Errorf("printed %q, %q", stdout, stderr)
	}
	host.check(t)

	// A parameter's name leads nowhere else.
	for _, name := range []string{"../../etc/passwd", "kernel/../../self/attr/exec", "fs/../../1/root/etc/passwd"} {
		r := newRig(t, "/bin/probe")
		r.plan.Config.Linux.Sysctl = map[string]string{name: "x"}
		if s := r.create().start(); s.code != sandbox.ExitFailed {
			t.Errorf("sysctl %q: exit code %d", name, s.code)
		}
		host.check(t)
	}
}

// A neighbour that shares a volume swaps a directory in it with links while
// containers start that mount, make directories, work and copy there.
func TestRacer(t *testing.T) { // CVE-2021-30465, CVE-2024-45310, CVE-2023-27561, CVE-2025-52881
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	host := hostState(t)
	for name, target := range map[string]string{
		"root": "/", "proc": "/proc", "canary": host.canary, "upwards": strings.Repeat("../", 30) + host.canary[1:],
	} {
		t.Run(name, func(t *testing.T) {
			racer := newRig(t, "probe", "swap", "/shared/sub", target)
			shared := filepath.Join(racer.dir, "shared")
			if err := os.Mkdir(shared, 0o755); err != nil {
				t.Fatal(err)
			}
			s := racer.bind(shared, "/shared").create().start()
			if s.code != 0 {
				t.Fatal(s.stderr)
			}
			awaitOutput(t, racer, "swapping\n")
			ran, refused := 0, 0
			for range rounds {
				if race(t, shared) {
					ran++
				} else {
					refused++
				}
			}
			t.Logf("%d containers ran, %d were refused", ran, refused)
			host.check(t)
		})
	}
}

// race starts one container on the shared directory and reports whether it ran.
func race(t *testing.T, shared string) bool {
	t.Helper()
	r := newRig(t, "/bin/probe")
	r.bind(shared, "/shared")
	r.plan.Config.Mounts = append(r.plan.Config.Mounts,
		specs.Mount{Destination: "/shared/sub/deep/er", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
		specs.Mount{Destination: "/shared/sub", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
	)
	r.plan.Config.Process.Cwd = "/shared/sub/cwd"
	s := r.create().start()
	if s.code == 0 {
		r.wait(s)
		stdout, _ := r.broker.output(t, r.id)
		p := parseProbe(t, stdout)
		if !strings.Contains(p.mount("/proc"), "- proc ") || !strings.Contains(p.mount("/proc/sys"), " ro,") {
			t.Errorf("procfs is hidden:\n%s", p.Mountinfo)
		}
		return true
	}
	if s.code != sandbox.ExitFailed {
		t.Errorf("exit code %d: %s", s.code, s.stderr)
	}
	return false
}

// A subpath of a volume does not lead out of the volume.
func TestVolumeSubpath(t *testing.T) {
	r := newRig(t, "sh", "-c", "cat /data/secret")
	if err := linkBusybox(r, "cat"); err != nil {
		t.Fatal(err)
	}
	host := hostState(t)
	volume := filepath.Join(r.dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(host.canary, filepath.Join(volume, "sub")); err != nil {
		t.Fatal(err)
	}
	r.bind(volume+"/sub", "/data")
	r.plan.Annex.Within = map[string]string{"/data": volume}
	if s := r.create().start(); s.code != sandbox.ExitFailed {
		t.Errorf("exit code %d", s.code)
	}
	host.check(t)
}
