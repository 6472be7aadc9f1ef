package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The differences from Docker that are meant, by the beginning of the key.
var meantDifferences = []struct{ key, why string }{
	{"ns ", "each container has its own"},
	{"env HOSTNAME", "each container has its own"},
	{"status SigIgn", "a payload does not inherit what its service manager ignores"},
	{"hosts ip6-", "newer Docker writes fe00:: for fe00::0"},
	{"other hostname", "each container has its own"},
	{"mount /", "Docker's storage driver here is vfs"},
	{"mount /probe", "the same file"},
	{"mount /sys/fs/cgroup", "cleat runs on cgroup2, Docker here on the machine's cgroup v1"},
	{"super /sys/fs/cgroup", "cleat runs on cgroup2, Docker here on the machine's cgroup v1"},
	{"path /sys/fs/cgroup", "cleat runs on cgroup2, Docker here on the machine's cgroup v1"},
	{"super /proc/", "cleat limits the size of the empty file systems that mask"},
	{"super /sys/firmware", "cleat limits the size of the empty file systems that mask"},
	{"mount /proc/interrupts", "masked since Docker 28"},
	{"super /proc/interrupts", "masked since Docker 28"},
	{"path /proc/interrupts", "masked since Docker 28"},
	{"dev core", "newer runc leaves the link out where there is no /proc/kcore, as here"},
	{"dev kmsg", "a file of the embedded host's own"},
	{"limit Max open files", "cleat's is systemd's default, Docker's that of its own unit, or of who started it"},
	{"limit Max pending signals", "of who started it"},
	{"status Seccomp", "with --privileged or unconfined both are 0; with a filter the value is the same"},
}

// TestLikeDocker starts the same containers with a Docker daemon of its own and
// compares what the processes are and see. It needs dockerd (Debian's docker.io).
func TestLikeDocker(t *testing.T) {
	docker := startDocker(t)
	s, path := shared(), writeProbe(t)
	different := map[string]bool{}
	for i, tt := range sandboxCases(t) {
		flags := strings.Fields(tt.flags)
		args := slices.Concat([]string{"run", "--rm", "--network", "none"}, flags, []string{"-v", path + ":/probe:ro", "busybox", "sh", "/probe"})
		theirs := finish(docker(args...))
		if theirs.code != 0 && len(theirs.out) == 0 {
			t.Logf("case %d (%s): this Docker cannot: %s", i, tt.flags, theirs.stderr)
			continue
		}
		want, got := readFacts(theirs.out), readFacts(s.try(args...).out)
		if len(want) < 60 {
			t.Errorf("case %d (%s): only %d facts to compare", i, tt.flags, len(want))
		}
		for _, k := range differing(want, got) {
			if why := meant(k); why != "" {
				different[k+": "+why] = true
				continue
			}
			t.Errorf("%q: %s is %q, Docker's is %q", tt.flags, k, got[k], want[k])
		}
	}
	for k := range different {
		t.Logf("differs: %s", k)
	}
}

func meant(key string) string {
	for _, d := range meantDifferences {
		if key == d.key || strings.HasPrefix(key, d.key) && d.key != "mount /" {
			return d.why
		}
	}
	return ""
}

// startDocker starts a daemon that shares nothing with another: directories,
// socket and network namespace of its own.
func startDocker(t *testing.T) func(args ...string) *exec.Cmd {
	t.Helper()
	docker, _ := startDockerd(t)
	return docker
}

// startDockerd is startDocker with the process of the daemon.
func startDockerd(t *testing.T) (docker func(args ...string) *exec.Cmd, pid int) {
	t.Helper()
	for _, program := range []string{"dockerd", "docker", "containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s to compare with: install docker.io", program)
		}
	}
	dir, err := os.MkdirTemp("/var/tmp", "cleat-docker-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	groupsBefore, _ := filepath.Glob("/sys/fs/cgroup/*/docker")
	in := func(name string) string { return filepath.Join(dir, name) }
	socket := "unix://" + in("sock")
	daemon := exec.Command("dockerd", "--data-root", in("data"), "--exec-root", in("exec"), "--pidfile", in("pid"), "-H", socket,
		"--iptables=false", "--ip-masq=false", "--bridge=none", "--storage-driver=vfs")
	daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	var log bytes.Buffer
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = daemon.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		<-ended
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/docker")
		for _, g := range groups {
			if !slices.Contains(groupsBefore, g) {
				_ = os.Remove(g)
			}
		}
	})
	docker = func(args ...string) *exec.Cmd {
		return exec.Command("docker", append([]string{"-H", socket}, args...)...)
	}
	for deadline := time.Now().Add(30 * time.Second); docker("version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		select {
		case <-ended:
			t.Skipf("dockerd cannot run here:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Skip("dockerd does not answer here")
		}
	}
	var layer bytes.Buffer
	if err := writeBusybox(&layer); err != nil {
		t.Fatal(err)
	}
	load := docker("import", "-c", `CMD ["sh"]`, "-", "busybox")
	load.Stdin = &layer
	if r := finish(load); r.code != 0 {
		t.Fatalf("docker import: %v", r)
	}
	return docker, daemon.Process.Pid
}
